//! Kubernetes YAML as people and Helm write it, taken apart into objects.

use serde_json::Value;

use crate::agent::sources::{Object, SourceKind};

/// Files larger than this are not read.
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
/// How deep `kind: List` may be nested.
const MAX_LIST_DEPTH: usize = 8;

/// An object and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Placed {
    pub object: Object,
    /// The line at which its document starts, from 1.
    pub line: usize,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("document {document}, line {line}: {reason}")]
pub struct DocumentError {
    /// The number of the document in its file, from 1.
    pub document: usize,
    /// The line in the file, from 1.
    pub line: usize,
    /// The error and its remedy.
    pub reason: String,
    /// The source that the object would belong to; `None` if it is unknown.
    pub source_kind: Option<SourceKind>,
}

/// The contents of a file: the objects that could be read, and the errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// The objects in the order of the file.
    pub objects: Vec<Placed>,
    /// The documents that could not be read.
    pub errors: Vec<DocumentError>,
}

/// Reads the bytes of a file.
pub fn read(bytes: &[u8]) -> Documents {
    let mut documents = Documents::default();
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line =
                1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let reason =
                "the file is not UTF-8 text: remove it from the folder or save it as UTF-8"
                    .to_owned();
            documents.errors.push(DocumentError { document: 1, line, reason, source_kind: None });
            return documents;
        }
    };
    for (number, (first_line, text)) in split(text).into_iter().enumerate() {
        let place = Place { document: number + 1, first_line };
        match parse(&text, place) {
            Ok(value) => documents.take(value, place, MAX_LIST_DEPTH),
            Err(error) => documents.errors.push(error),
        }
    }
    documents
}

#[derive(Clone, Copy)]
struct Place {
    document: usize,
    first_line: usize,
}

impl Place {
    fn error(self, reason: String, source_kind: Option<SourceKind>) -> DocumentError {
        DocumentError { document: self.document, line: self.first_line, reason, source_kind }
    }
}

impl Documents {
    fn take(&mut self, value: Value, place: Place, depth: usize) {
        if value.is_null() {
            return;
        }
        let Value::Object(fields) = &value else {
            self.errors.push(
                place.error(
                    "the document is not a Kubernetes object (a mapping with apiVersion and kind)"
                        .to_owned(),
                    None,
                ),
            );
            return;
        };
        let is_list =
            fields.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
        match fields.get("items") {
            Some(Value::Array(items)) if is_list && depth > 0 => {
                items.iter().for_each(|item| self.take(item.clone(), place, depth - 1));
            }
            Some(Value::Array(_)) if is_list => {
                self.errors.push(
                    place
                        .error("lists are nested too deep: write their items out".to_owned(), None),
                );
            }
            _ => match Object::read(value) {
                None => {}
                Some(Ok(object)) => self.objects.push(Placed { object, line: place.first_line }),
                Some(Err(error)) => {
                    self.errors.push(place.error(error.to_string(), Some(error.source_kind())))
                }
            },
        }
    }
}

/// Documents with the line at which each starts. A line that starts with `---` separates them wherever it stands (YAML 1.2
/// §9.1.2 forbids it inside a scalar); text after it is dropped, as kubectl does, unless it is a value of its own.
fn split(text: &str) -> Vec<(usize, String)> {
    let mut documents = vec![(1, String::new())];
    for (number, line) in text.lines().enumerate() {
        let marker = line
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace));
        let content = match marker {
            Some(rest) => {
                documents.push((number + 1, String::new()));
                let rest = rest.trim_start();
                if rest.starts_with(['{', '[']) { rest } else { "" }
            }
            None => line,
        };
        if let Some((_, document)) = documents.last_mut() {
            document.push_str(content);
            document.push('\n');
        }
    }
    documents.retain(|(_, document)| {
        document.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    documents
}

fn parse(text: &str, place: Place) -> Result<Value, DocumentError> {
    // Aliases are replayed at most this often, so that a small file cannot become a large one.
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 50_000, max_replay_stack_depth: 16 },
    };
    serde_saphyr::from_str_with_options::<Value>(text, options).map_err(|error| {
        let line = error
            .location()
            .map_or(1, |location| usize::try_from(location.line()).unwrap_or(1))
            .max(1);
        let full = error.to_string();
        let reason = full
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .unwrap_or("it cannot be read");
        let reason =
            format!("the document is not YAML: {}", reason.chars().take(300).collect::<String>());
        DocumentError { line: place.first_line + line - 1, ..place.error(reason, None) }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(documents: &Documents) -> Vec<String> {
        documents
            .objects
            .iter()
            .map(|placed| format!("{} line {}", placed.object.reference(), placed.line))
            .collect()
    }

    #[test]
    fn helm_output_is_read() {
        let documents = read(
            b"\n---\n# Source: chart/templates/a.yaml\n---\n# Source: chart/templates/b.yaml\napiVersion: v1\nkind: Service\nmetadata:\n  name: one\n  annotations:\n    \"helm.sh/hook\": post-install\n--- # Source: c\napiVersion: v1\nkind: Service\nmetadata: {name: two, namespace: shop}\n---  trailing text\napiVersion: apps/v1\nkind: Deployment\n---\n--- {apiVersion: v1, kind: Service, metadata: {name: three}}\n---\n",
        );
        assert_eq!(documents.errors, []);
        assert_eq!(
            names(&documents),
            [
                "service/default/one line 4",
                "service/shop/two line 12",
                "service/default/three line 20"
            ]
        );
    }

    #[test]
    fn lists_and_json_are_read() {
        let yaml = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Service, metadata: {name: one}}\n- apiVersion: v1\n  kind: ServiceList\n  items: [{apiVersion: v1, kind: Service, metadata: {name: two}}]\n";
        assert_eq!(read(yaml.as_bytes()).objects.len(), 2);
        let json = br#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"one"}}"#;
        assert_eq!(read(json).objects.len(), 1);
        assert_eq!(
            read(b"\xef\xbb\xbfapiVersion: v1\r\nkind: Service\r\nmetadata:\r\n  name: one\r\n")
                .objects
                .len(),
            1
        );
    }

    #[test]
    fn a_bad_document_is_named_and_the_others_are_read() {
        let documents = read(b"apiVersion: v1\nkind: Service\nmetadata: {name: one}\n---\na: [1\nb: }\n---\nkind: Service\napiVersion: v1\nspec: 5\nmetadata: {name: x}\n---\ntext\n");
        assert_eq!(names(&documents), ["service/default/one line 1"]);
        let places: Vec<_> = documents.errors.iter().map(|e| (e.document, e.source_kind)).collect();
        assert_eq!(
            places,
            [(2, None), (3, Some(SourceKind::Service)), (4, None)],
            "{:?}",
            documents.errors
        );
        assert!((5..=6).contains(&documents.errors[0].line), "{:?}", documents.errors[0]);
        assert_eq!(documents.errors[1].line, 7);
    }

    #[test]
    fn hostile_files_are_errors() {
        assert_eq!(read(b"a: b\n\xff\xfe\x00").errors[0].line, 2);
        let mut laughs = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, before) in ('b'..='j').zip('a'..) {
            laughs += &format!(
                "{name}: &{name} [*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before},*{before}]\n"
            );
        }
        assert_eq!(read(laughs.as_bytes()).errors.len(), 1, "billion laughs");
        let deep = "[".repeat(100_000);
        assert_eq!(read(deep.as_bytes()).errors.len(), 1, "deep nesting");
        assert_eq!(read("{a: ".repeat(50_000).as_bytes()).errors.len(), 1, "deep mappings");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&bytes);
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in "[-a-c:{}\\[\\]&*#|>'\"\n \t]{0,120}") {
            read(text.as_bytes());
        }
    }
}

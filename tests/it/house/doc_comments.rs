//! A public item has a doc comment, but for fields and variants: a good name needs none that says it again.

use std::path::PathBuf;

use crate::house::architecture::tree::{self, Sources};

/// The words with which an item begins, after `pub` and what may stand between.
const ITEMS: [&str; 7] = ["const", "enum", "fn", "static", "struct", "trait", "type"];
/// The words that may stand before the keyword of an item.
const QUALIFIERS: [&str; 3] = ["pub", "async", "const"];

/// The word of the item that begins on a line of code; `None` if none does. A constant is no function that is one.
fn item(line: &str) -> Option<&str> {
    let words: Vec<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
    let first = words.iter().position(|word| !QUALIFIERS.contains(word)).unwrap_or(words.len());
    let word = words.get(first).filter(|word| ITEMS.contains(word));
    word.copied().or_else(|| words[..first].contains(&"const").then_some("const"))
}

/// Where the attributes of the item at `at` begin, and where the code before them ends.
fn before_attributes(code: &str, at: usize) -> usize {
    let mut end = code[..at].trim_end().len();
    while code[..end].ends_with(']') {
        let mut depth = 0_usize;
        let open = code[..end].char_indices().rev().find_map(|(at, c)| {
            match c {
                ']' => depth += 1,
                '[' => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at)
        });
        match open.map(|at| code[..at].trim_end()).and_then(|before| before.strip_suffix('#')) {
            Some(before) => end = before.trim_end().len(),
            None => break,
        }
    }
    end
}

fn has_doc_comment(source: &str, code: &str, at: usize) -> bool {
    let end = before_attributes(code, at);
    // A macro that is given the comment: `$(#[$doc])*`.
    let is_given = code[..end].ends_with("])*");
    is_given || source[end..at].lines().any(|line| line.trim_start().starts_with("///"))
}

/// The public items of a file that have no doc comment, and those of its public traits, by line. A module's stands in its file.
fn undocumented(source: &str, code: &str) -> Vec<usize> {
    let mut found = vec![];
    // The depth of braces inside of the public trait that is open.
    let mut in_trait: Option<usize> = None;
    let (mut depth, mut at) = (0_usize, 0_usize);
    for (index, line) in code.split_inclusive('\n').enumerate() {
        let begin = at + line.len() - line.trim_start().len();
        let is_public = line.trim_start().starts_with("pub ") || in_trait == Some(depth);
        let kind = item(line.trim_start()).filter(|_| is_public);
        if kind.is_some() && !has_doc_comment(source, code, begin) {
            found.push(index + 1);
        }
        if kind == Some("trait") {
            in_trait = Some(depth + 1);
        }
        depth = depth + line.matches('{').count() - line.matches('}').count();
        if in_trait.is_some_and(|inside| depth < inside) && line.contains('}') {
            in_trait = None;
        }
        at += line.len();
    }
    found
}

fn undocumented_in(folder: &str, sources: &Sources) -> Vec<String> {
    let mut found = vec![];
    for (file, code) in tree::code_without_tests(sources) {
        // Files of tests alone lie in folders of that name.
        if file.contains("/tests/") {
            continue;
        }
        let source = &sources[&file];
        if !source.starts_with("//!") {
            found.push(format!("{folder}/{file}: does not begin with what it holds (//!)"));
        }
        let lines = undocumented(source, &code);
        found.extend(lines.iter().map(|line| format!("{folder}/{file}:{line}: no doc comment")));
    }
    found
}

#[test]
fn every_file_and_every_public_item_says_what_it_is_for() {
    let mut found = vec![];
    for folder in ["src", "bench"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        found.extend(undocumented_in(folder, &tree::read(&path)));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn an_item_without_a_doc_comment_is_found_and_a_field_is_none() {
    let text = "//! A file.\n\
        /// A type.\n\
        #[derive(Debug, PartialEq)]\n\
        #[expect(dead_code, reason = \"a reason [in] brackets\")]\n\
        pub struct Known {\n    pub field: u8,\n}\n\
        pub struct Unknown;\n\
        /// A trait.\n\
        pub trait Work {\n    fn unknown(&self);\n    /// A step.\n    fn known(&self) {\n        const X: u8 = 1;\n    }\n}\n\
        impl Work for Known {\n    fn unknown(&self) {}\n}\n\
        impl Known {\n    // No doc comment.\n    pub async fn unknown() {}\n    pub(crate) fn inner() {}\n    fn private() {}\n}\n\
        pub const fn unknown() {}\n\
        macro_rules! made {\n    ($(#[$doc:meta])* $name:ident) => {\n        $(#[$doc])*\n        pub struct $name;\n    };\n}\n\
        pub const UNKNOWN: u8 = 1;\n\
        #[cfg(test)]\nmod tests {\n    pub fn helper() {}\n}\n";
    let sources = Sources::from([("a.rs".to_owned(), text.to_owned())]);
    let lines = [8, 11, 22, 26, 33].map(|line| format!("src/a.rs:{line}: no doc comment"));
    assert_eq!(undocumented_in("src", &sources), lines);
    let bare = Sources::from([("b.rs".to_owned(), String::new())]);
    assert_eq!(undocumented_in("src", &bare).len(), 1);
}

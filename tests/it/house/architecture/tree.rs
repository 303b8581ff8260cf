//! A reader of Rust sources that knows just enough to say which module names which: comments, literals, inline modules,
//! `#[cfg(test)]` and trees of `use`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Paths below `src`, such as `core/name.rs`, and their text.
pub type Sources = BTreeMap<String, String>;

/// One name of another module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// The file that names it.
    pub from: String,
    /// The line, from 1.
    pub line: usize,
    /// The file of the module that is named.
    pub to: String,
    /// Whether it stands in code that is compiled for tests only.
    pub in_test: bool,
}

/// All files below a folder that end in `.rs`.
pub fn read(folder: &Path) -> Sources {
    let mut sources = Sources::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in
            std::fs::read_dir(&next).unwrap_or_else(|error| panic!("{}: {error}", next.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/");
                sources.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    sources
}

/// Every import between files, sorted.
pub fn imports(sources: &Sources) -> Vec<Import> {
    let modules = Modules::of(sources);
    let mut found = BTreeSet::new();
    for (file, source) in sources {
        for mention in
            mentions(source, &modules.path_of[file], modules.test_files.contains(file), &modules)
        {
            if let Some(to) = modules.file_of(&mention.path)
                && to != file
            {
                found.insert(Import {
                    from: file.clone(),
                    line: mention.line,
                    to: to.clone(),
                    in_test: mention.in_test,
                });
            }
        }
    }
    found.into_iter().collect()
}

/// The files with comments, the insides of literals, and whatever is compiled for tests only as white space; lines stay.
pub fn code_without_tests(sources: &Sources) -> Sources {
    let modules = Modules::of(sources);
    let shipped = sources.iter().filter(|(file, _)| !modules.test_files.contains(*file));
    shipped.map(|(file, source)| (file.clone(), without_tests(source))).collect()
}

fn without_tests(source: &str) -> String {
    let code = blank_literals(source);
    let mut kept = code.clone().into_bytes();
    for token in Scanner::new(&code, false).filter(|token| token.in_test) {
        kept[token.at..token.at + token.text.len()].fill(b' ');
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// Which file is which module.
struct Modules {
    file_of: BTreeMap<Vec<String>, String>,
    path_of: BTreeMap<String, Vec<String>>,
    test_files: BTreeSet<String>,
}

impl Modules {
    fn of(sources: &Sources) -> Self {
        let mut path_of: BTreeMap<String, Vec<String>> =
            sources.keys().map(|file| (file.clone(), default_module(file))).collect();
        let mut test_files = BTreeSet::new();
        for (file, source) in sources {
            for module in outlined_modules(source) {
                let mut path = path_of[file].clone();
                path.push(module.name.clone());
                let at = match &module.path {
                    Some(beside) => Some(match file.rsplit_once('/') {
                        Some((folder, _)) => format!("{folder}/{beside}"),
                        None => beside.clone(),
                    }),
                    None => {
                        path_of.iter().find(|(_, known)| **known == path).map(|(at, _)| at.clone())
                    }
                };
                let Some(at) = at.filter(|at| sources.contains_key(at)) else { continue };
                if module.in_test {
                    test_files.insert(at.clone());
                }
                path_of.insert(at, path);
            }
        }
        let file_of = path_of.iter().map(|(file, path)| (path.clone(), file.clone())).collect();
        Self { file_of, path_of, test_files }
    }

    /// The file of the longest beginning of a path that is a module; the crate's root is none.
    fn file_of(&self, path: &[String]) -> Option<&String> {
        (1..=path.len()).rev().find_map(|length| self.file_of.get(&path[..length]))
    }

    fn is_module(&self, path: &[String]) -> bool {
        self.file_of.contains_key(path)
    }
}

fn default_module(file: &str) -> Vec<String> {
    let bare = file.trim_end_matches(".rs");
    match bare {
        "lib" => Vec::new(),
        _ => bare.trim_end_matches("/mod").split('/').map(str::to_owned).collect(),
    }
}

struct Outlined {
    name: String,
    path: Option<String>,
    in_test: bool,
}

/// The modules that a file declares and that stand in files of their own: `mod name;`.
fn outlined_modules(source: &str) -> Vec<Outlined> {
    let code = blank_literals(source);
    let tokens: Vec<Token> = Scanner::new(&code, false).collect();
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let [name, end] =
            [1, 2].map(|after| tokens.get(index + after).map_or("", |token| token.text));
        if token.text != "mod" || end != ";" {
            continue;
        }
        // `#[path = "…"]` stands among the attributes, and its literal is blank in `code`.
        let before = source[..token.at].rfind([';', '}']).map_or(0, |at| at + 1);
        let attributes = &source[before..token.at];
        let path = attributes
            .split_once("path = \"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(path, _)| path.to_owned());
        found.push(Outlined { name: name.to_owned(), path, in_test: token.in_test });
    }
    found
}

struct Mention {
    path: Vec<String>,
    line: usize,
    in_test: bool,
}

/// Every path in a file that starts at the crate's root, at a parent, at itself, or with the name of a child module.
fn mentions(
    source: &str,
    module: &[String],
    whole_file_is_test: bool,
    modules: &Modules,
) -> Vec<Mention> {
    let code = blank_literals(source);
    let tokens: Vec<Token> = Scanner::new(&code, whole_file_is_test).collect();
    let mut found = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        let token = &tokens[index];
        let continues_a_path = index > 0 && tokens[index - 1].text == "::";
        let mut here = module.to_vec();
        here.extend(token.inline_modules.iter().cloned());
        let starts = ["crate", "zonefold", "super", "self"].contains(&token.text)
            && is(&tokens, index + 1, "::")
            || is_word(token.text)
                && is(&tokens, index + 1, "::")
                && modules.is_module(&join(&here, token.text));
        if continues_a_path || !starts {
            index += 1;
            continue;
        }
        let mut paths = Vec::new();
        let end = path_tree(&tokens, index, &mut Vec::new(), &mut paths);
        for (path, at) in paths {
            let path = absolute(&path, &here);
            found.push(Mention {
                path,
                line: line_of(&code, tokens[at].at),
                in_test: token.in_test,
            });
        }
        index = end.max(index + 1);
    }
    found
}

fn join(path: &[String], name: &str) -> Vec<String> {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

fn absolute(path: &[String], here: &[String]) -> Vec<String> {
    let mut base = here.to_vec();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match first.as_str() {
            "crate" | "zonefold" => base.clear(),
            "super" => drop(base.pop()),
            "self" => {}
            _ => break,
        }
        rest = after;
    }
    base.extend(rest.iter().cloned());
    base
}

/// Reads `a::b::{c, d::e}` from `index`, adds each path with the token where it ends, and answers the token after it.
fn path_tree(
    tokens: &[Token],
    mut index: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, usize)>,
) -> usize {
    let depth = prefix.len();
    while let Some(token) = tokens.get(index) {
        if token.text == "{" {
            index += 1;
            while index < tokens.len() && tokens[index].text != "}" {
                let next = path_tree(tokens, index, prefix, found);
                index = if next == index { index + 1 } else { next };
            }
            prefix.truncate(depth);
            return index + 1;
        }
        if !is_word(token.text) && token.text != "*" {
            break;
        }
        if token.text != "*" {
            prefix.push(token.text.to_owned());
        }
        index += 1;
        if !is(tokens, index, "::") {
            found.push((prefix.clone(), index - 1));
            break;
        }
        index += 1;
    }
    // `crate::name::<T>()` ends in a path that is not followed by a word.
    if prefix.len() > depth && is(tokens, index.wrapping_sub(1), "::") {
        found.push((prefix.clone(), index - 1));
    }
    prefix.truncate(depth);
    index
}

fn is(tokens: &[Token], index: usize, text: &str) -> bool {
    tokens.get(index).is_some_and(|token| token.text == text)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

fn line_of(code: &str, at: usize) -> usize {
    1 + code[..at].matches('\n').count()
}

struct Token<'a> {
    text: &'a str,
    at: usize,
    in_test: bool,
    inline_modules: Vec<String>,
}

/// Cuts code without literals into words, `::` and single characters, and follows braces.
struct Scanner<'a> {
    code: &'a str,
    at: usize,
    /// One an open brace: the inline module that it opens, and whether it is for tests.
    braces: Vec<(Option<String>, bool)>,
    /// `#[cfg(test)]` was read, at this depth, and its item has not ended.
    pending_test: Option<usize>,
    last_words: [&'a str; 2],
    whole_file_is_test: bool,
}

impl<'a> Scanner<'a> {
    fn new(code: &'a str, whole_file_is_test: bool) -> Self {
        Self {
            code,
            at: 0,
            braces: Vec::new(),
            pending_test: None,
            last_words: ["", ""],
            whole_file_is_test,
        }
    }

    fn in_test(&self) -> bool {
        self.whole_file_is_test
            || self.pending_test.is_some()
            || self.braces.iter().any(|(_, test)| *test)
    }
}

impl<'a> Iterator for Scanner<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        let rest = &self.code[self.at..];
        let start = self.at + rest.find(|c: char| !c.is_whitespace())?;
        let rest = &self.code[start..];
        if rest.starts_with("#[cfg(test)]") || rest.starts_with("#![cfg(test)]") {
            self.pending_test.get_or_insert(self.braces.len());
        }
        let length = if is_word(rest) {
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            rest.chars().next().map_or(1, char::len_utf8)
        };
        let text = &rest[..length];
        self.at = start + length;
        let inline_modules = self.braces.iter().filter_map(|(name, _)| name.clone()).collect();
        let mut in_test = self.in_test();
        match text {
            "{" => {
                let name = (self.last_words[0] == "mod").then(|| self.last_words[1].to_owned());
                let ends_pending = self.pending_test == Some(self.braces.len());
                self.braces.push((name, ends_pending));
                if ends_pending {
                    self.pending_test = None;
                }
            }
            "}" => {
                in_test = self.in_test();
                self.braces.pop();
            }
            ";" if self.pending_test == Some(self.braces.len()) => self.pending_test = None,
            _ => {}
        }
        self.last_words = [self.last_words[1], text];
        Some(Token { text, at: start, in_test, inline_modules })
    }
}

/// The source with comments and the insides of literals as white space, byte for byte as long as before.
pub fn blank_literals(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut kept = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &source[at..];
        let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if !after_word
            && (rest.starts_with("r\"") || rest.starts_with("r#") || rest.starts_with("br"))
        {
            raw_string(rest).unwrap_or(0)
        } else if rest.starts_with('"') {
            string(rest)
        } else if rest.starts_with('\'') {
            character(rest).unwrap_or(0)
        } else {
            0
        };
        if length == 0 {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        }
        for byte in &mut kept[at..at + length] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += length;
    }
    String::from_utf8(kept).unwrap()
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest.as_bytes()[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let prefix = if rest.starts_with("br") { 2 } else { 1 };
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let open = prefix + hashes + 1;
    if rest.as_bytes().get(open - 1) != Some(&b'"') {
        return None;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    Some(rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len()))
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character literal; `None` if it is a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut characters = rest.char_indices().skip(1);
    let (_, first) = characters.next()?;
    if first == '\\' {
        // The escaped character itself may be a quote.
        let (after, _) = characters
            .nth(1)
            .filter(|(_, c)| *c == '\'')
            .or_else(|| characters.find(|(_, c)| *c == '\''))?;
        return Some(after + 1);
    }
    let (end, second) = characters.next()?;
    (second == '\'').then_some(end + 1)
}

//! A name of a type means one thing: names that are declared more than once stand in a list that only shrinks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::house::architecture::tree::{self, Sources};

/// The names that may be declared more than once, one a line. A name leaves the list when all but one of its types are renamed.
const LISTED: &str = include_str!("type_names.txt");

/// Where each name is declared, by file.
type Declared = BTreeMap<String, Vec<String>>;

/// The structs, enums, traits and type aliases of modules; what is declared inside a block (associated types, types of one
/// function) has no name outside of it.
fn declared(code: &str) -> Vec<&str> {
    let mut found = vec![];
    // One for each open brace: whether it opens a module.
    let mut braces: Vec<bool> = vec![];
    let mut last_words = ["", ""];
    let mut rest = code;
    while let Some(start) = rest.find(|c: char| !c.is_whitespace()) {
        rest = &rest[start..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = match rest.find(|c: char| !is_part(c)) {
            Some(0) => rest.chars().next().map_or(1, char::len_utf8),
            Some(length) => length,
            None => rest.len(),
        };
        let word = &rest[..length];
        rest = &rest[length..];
        match word {
            "{" => braces.push(last_words[0] == "mod"),
            "}" => drop(braces.pop()),
            _ if ["struct", "enum", "trait", "type"].contains(&last_words[1])
                && word.starts_with(char::is_alphabetic)
                && braces.iter().all(|is_module| *is_module) =>
            {
                found.push(word);
            }
            _ => {}
        }
        last_words = [last_words[1], word];
    }
    found
}

/// The names that several modules of a folder declare, tests left out, added to what is known.
fn add(declarations: &mut Declared, folder: &str, sources: &Sources) {
    for (file, code) in tree::code_without_tests(sources) {
        // Files of tests alone lie in folders of that name.
        for name in declared(&code).into_iter().filter(|_| !file.contains("/tests/")) {
            declarations.entry(name.to_owned()).or_default().push(format!("{folder}/{file}"));
        }
    }
}

/// The names declared more than once and not listed, and those listed and declared once at most.
fn unlike(declarations: &Declared, listed: &[&str]) -> Vec<String> {
    let mut found = vec![];
    for (name, files) in declarations {
        if files.len() > 1 && !listed.contains(&name.as_str()) {
            found.push(format!("{name} is declared in {}: rename one", files.join(", ")));
        }
    }
    for name in listed {
        if declarations.get(*name).is_none_or(|files| files.len() < 2) {
            found.push(format!("{name} is declared once at most: take it off the list"));
        }
    }
    found
}

#[test]
fn a_type_has_a_name_of_its_own_and_the_list_of_doubled_names_only_shrinks() {
    let mut declarations = Declared::new();
    for folder in ["src", "bench"] {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        add(&mut declarations, folder, &tree::read(&path));
    }
    assert!(declarations.len() > 500, "{} types were found", declarations.len());
    let listed: Vec<&str> = LISTED.lines().collect();
    let found = unlike(&declarations, &listed);
    assert!(found.is_empty(), "tests/it/house/type_names.txt:\n{}", found.join("\n"));
    let sorted: Vec<&str> = listed.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(listed, sorted, "tests/it/house/type_names.txt is sorted, each name once");
}

#[test]
fn a_doubled_name_is_found_in_code_that_is_shipped_and_outside_of_blocks_only() {
    let one = "pub struct Held<T>(T); trait Work { type Output; } mod inner { pub enum Step { A } }\n\
               // struct Comment;\n#[cfg(test)] mod tests { struct World; }";
    let two = "pub(crate) type Held = u8; impl Work for u8 { type Output = u8; }\n\
               struct World; fn a() { struct Step; let _ = \"struct Text\"; } pub struct Step;";
    let sources = |text: &str| Sources::from([("a.rs".to_owned(), text.to_owned())]);
    let mut declarations = Declared::new();
    add(&mut declarations, "src", &sources(one));
    add(&mut declarations, "bench", &sources(two));
    let names: Vec<&str> = declarations.keys().map(String::as_str).collect();
    assert_eq!(names, ["Held", "Step", "Work", "World"]);
    assert_eq!(unlike(&declarations, &["Held", "Step"]), Vec::<String>::new());
    assert_eq!(
        unlike(&declarations, &["Held", "Work"]),
        [
            "Step is declared in src/a.rs, bench/a.rs: rename one",
            "Work is declared once at most: take it off the list"
        ]
    );
}

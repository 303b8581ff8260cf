//! Texts of others as a person's terminal may show them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text without characters that do something instead of being seen: control characters (Unicode's category Cc, which move cursors
/// and change colours), and those that change the order or the look of what stands around them (UAX #9, and the
/// separators of lines and paragraphs). Each becomes its escape, such as `\n` or `\u{1b}`.
///
/// For every output for people. Programs get texts as they are.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_active)
}

/// The same for a text of several lines that we have laid out ourselves: line feeds stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| is_active(c) && c != '\n')
}

fn is_active(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if !is_escaped(c) => shown.push(c),
            '\n' | '\r' | '\t' => shown.extend(c.escape_default()),
            c => {
                // Writing to a String does not fail.
                let _ = write!(shown, "{}", c.escape_unicode());
            }
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_shown_as_its_escape() {
        for (text, shown) in [
            ("\u{1b}[2J\u{1b}]0;owned\u{7}", r"\u{1b}[2J\u{1b}]0;owned\u{7}"),
            ("a\r\nb\tc", r"a\r\nb\tc"),
            ("\u{9b}31m\u{7f}\0", r"\u{9b}31m\u{7f}\u{0}"),
            ("moc.elpmaxe\u{202e}", r"moc.elpmaxe\u{202e}"),
            ("a\u{2028}b\u{2066}\u{200b}", r"a\u{2028}b\u{2066}\u{200b}"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(printable(shown), shown, "it is shown once");
        }
        assert_eq!(printable_lines("a\nb\u{1b}[1A"), "a\nb\\u{1b}[1A");
    }

    #[test]
    fn every_other_text_stays_as_it_is() {
        for text in
            ["", "www.example.com", "bücher.example", "日本語 \u{301}", r"\052.example.com", "→ …"]
        {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}

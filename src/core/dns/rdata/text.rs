//! Values with character strings (RFC 1035 §5.1): `"text"` with `\"`, `\\` and, as Route 53 reads it, `\ooo` in octal.

use super::MAX_VALUE_CHARS;
use super::simple::{Parsed, name_or_root, number};

/// RFC 1035 §3.3: a character string has at most 255 octets.
const MAX_STRING_OCTETS: usize = 255;

/// A part of a value.
#[derive(Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Quoted(Vec<u8>),
}

impl Token<'_> {
    fn into_octets(self) -> Vec<u8> {
        match self {
            Self::Word(word) => word.as_bytes().to_vec(),
            Self::Quoted(octets) => octets,
        }
    }
}

/// RFC 1035 §3.3.14: one or more character strings. Text without quotes is taken as it stands, quoted, and cut into strings of
/// 255 octets; readers put them together again (RFC 7208 §3.3, RFC 6376 §3.6.2.2).
pub(in crate::core::dns::rdata) fn txt(value: &str) -> Parsed {
    if !value.trim_start().starts_with('"') {
        return Ok(join(
            &value.as_bytes().chunks(MAX_STRING_OCTETS).map(quoted).collect::<Vec<_>>(),
        ));
    }
    let mut strings = Vec::new();
    for token in tokens(value)? {
        match token {
            Token::Quoted(octets) => strings.push(character_string(&octets)?),
            Token::Word(word) => {
                return Err(format!(
                    "{word:?} stands outside quotation marks: put every string of the value into its own"
                ));
            }
        }
    }
    Ok(join(&strings))
}

/// RFC 8659 §4.1: flags, tag and value.
pub(in crate::core::dns::rdata) fn caa(value: &str) -> Parsed {
    let expected = "flags, a tag and a quoted value, as in 0 issue \"ca.example.net\"";
    let [flags, tag, content] = take_tokens(value, expected)?;
    let (Token::Word(flags), Token::Word(tag)) = (flags, tag) else {
        return Err(format!("only the value is quoted: it needs {expected}"));
    };
    let flags: u8 = number(flags, "flags")?;
    if !(1..=15).contains(&tag.len()) || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(format!(
            "the tag {tag:?} is not 1 to 15 letters and digits, such as issue, issuewild and iodef"
        ));
    }
    Ok(format!("{flags} {} {}", tag.to_ascii_lowercase(), quoted(&content.into_octets())))
}

/// RFC 3403 §4.1: order, preference, flags, services, regular expression and replacement.
pub(in crate::core::dns::rdata) fn naptr(value: &str) -> Parsed {
    let expected = "an order, a preference, quoted flags, services and expression, and a replacement, \
                    as in 10 10 \"u\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" .";
    let [order, preference, flags, services, expression, replacement] =
        take_tokens(value, expected)?;
    let (Token::Word(order), Token::Word(preference), Token::Word(replacement)) =
        (order, preference, replacement)
    else {
        return Err(format!(
            "order, preference and replacement are not quoted: it needs {expected}"
        ));
    };
    let flags = flags.into_octets();
    if !flags.iter().all(u8::is_ascii_alphanumeric) {
        return Err("the flags are not letters and digits (RFC 3403 §4.1)".to_owned());
    }
    let expression = expression.into_octets();
    if !expression.is_empty() && replacement != "." {
        return Err(
            "an expression and a replacement exclude each other (RFC 3403 §4.1): make one of them empty, \"\" or .".to_owned()
        );
    }
    let order: u16 = number(order, "order")?;
    let preference: u16 = number(preference, "preference")?;
    let [flags, services, expression] =
        [flags, services.into_octets(), expression].map(|octets| character_string(&octets));
    Ok(format!(
        "{order} {preference} {} {} {} {}",
        flags?,
        services?,
        expression?,
        name_or_root(replacement)?
    ))
}

/// Octets as a quoted string: printable ASCII as it is, everything else as `\ooo`.
pub(in crate::core::dns::rdata) fn quoted(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 2);
    text.push('"');
    for octet in octets {
        match octet {
            b'"' | b'\\' => text.extend(['\\', char::from(*octet)]),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => text.push_str(&format!("\\{octet:03o}")),
        }
    }
    text.push('"');
    text
}

/// Reads the text after an opening quotation mark; returns it with the rest after the closing one.
pub(in crate::core::dns::rdata) fn read_quoted(text: &str) -> Parsed<(Vec<u8>, &str)> {
    let bytes = text.as_bytes();
    let (mut octets, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            // A quotation mark is ASCII, so the next byte starts a character.
            b'"' => return Ok((octets, text.get(at + 1..).unwrap_or_default())),
            b'\\' => {
                let (octet, length) = read_escape(bytes.get(at + 1..).unwrap_or_default())?;
                octets.push(octet);
                at += length;
            }
            other => octets.push(*other),
        }
        at += 1;
    }
    Err("a quotation mark is not closed: end the string with \", and write \\\" for one inside of it".to_owned())
}

/// Reads the escape after a backslash; returns the octet and the length read.
fn read_escape(bytes: &[u8]) -> Parsed<(u8, usize)> {
    match bytes {
        [b'0'..=b'9', ..] => match bytes {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => Ok(((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'), 3)),
            _ => Err("a backslash before a digit starts three octal digits (000 to 377): write \\\\ for a backslash".to_owned()),
        },
        [octet, ..] => Ok((*octet, 1)),
        [] => Err("it ends with a backslash: write \\\\ for a backslash".to_owned()),
    }
}

fn character_string(octets: &[u8]) -> Parsed {
    if octets.len() > MAX_STRING_OCTETS {
        return Err(format!(
            "a string of {} octets is longer than {MAX_STRING_OCTETS} (RFC 1035 §3.3): split it into \"…\" \"…\", or leave the \
             quotation marks away and it is split for you",
            octets.len()
        ));
    }
    Ok(quoted(octets))
}

/// A space between strings, or none where that makes the value too long: Route 53 reads both alike.
fn join(strings: &[String]) -> String {
    let spaced = strings.join(" ");
    if spaced.len() > MAX_VALUE_CHARS { strings.concat() } else { spaced }
}

fn tokens(value: &str) -> Parsed<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = value.trim_ascii_start();
    while !rest.is_empty() {
        let after;
        if let Some(inside) = rest.strip_prefix('"') {
            let (octets, tail) = read_quoted(inside)?;
            tokens.push(Token::Quoted(octets));
            after = tail;
            // The next string may follow at once, as in "first""second".
            if !after.is_empty()
                && !after.starts_with(|c: char| c.is_ascii_whitespace() || c == '"')
            {
                return Err("something follows a closing quotation mark at once: put a space between the strings".to_owned());
            }
        } else {
            let end = rest.find(|c: char| c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            tokens.push(Token::Word(word));
            after = tail;
        }
        rest = after.trim_ascii_start();
    }
    Ok(tokens)
}

fn take_tokens<'a, const N: usize>(value: &'a str, expected: &str) -> Parsed<[Token<'a>; N]> {
    let tokens = tokens(value)?;
    tokens.try_into().map_err(|tokens: Vec<_>| {
        format!("it has {} parts and needs {N}: {expected}", tokens.len())
    })
}

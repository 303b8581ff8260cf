//! SVCB and HTTPS (RFC 9460): priority, target and parameters in the order of their numbers.

use std::collections::BTreeMap;

use super::simple::{Parsed, a, aaaa, name_or_root, number};
use super::text::{quoted, read_quoted};

/// The registered keys; a key's number is its place (RFC 9460 §14.3.2, RFC 9461, RFC 9540).
const KEYS: [&str; 9] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
];

type Params = BTreeMap<u16, Option<Vec<u8>>>;

/// RFC 9460 §2.1.
pub(in crate::core::dns::rdata) fn svcb(value: &str) -> Parsed {
    let value = value.trim_ascii();
    let (priority, rest) = next_word(value);
    let (target, rest) = next_word(rest);
    if target.is_empty() {
        return Err("it needs a priority and a target, as in 1 . alpn=\"h2,h3\"".to_owned());
    }
    let priority: u16 = number(priority, "priority")?;
    let target = name_or_root(target)?;
    let params = read_params(rest)?;
    if priority == 0 && !params.is_empty() {
        return Err("priority 0 makes it an alias, which has no parameters (RFC 9460 §2.4.2): remove them or raise it".to_owned());
    }
    let mut canonical = format!("{priority} {target}");
    for (number, content) in &params {
        canonical.push(' ');
        canonical.push_str(&key_name(*number));
        if let Some(content) = canonical_content(*number, content.as_deref(), &params)? {
            canonical.push('=');
            canonical.push_str(&quoted(&content));
        }
    }
    if params.contains_key(&2) && !params.contains_key(&1) {
        return Err("no-default-alpn needs alpn too (RFC 9460 §7.1.1)".to_owned());
    }
    Ok(canonical)
}

/// The first parameter of a canonical value that Route 53 does not accept: it knows the named keys without `mandatory`.
pub(super) fn unsupported_parameter(value: &str) -> Option<String> {
    let (_, rest) = next_word(value);
    let (_, rest) = next_word(rest);
    let is_unsupported = |number: &u16| *number == 0 || usize::from(*number) >= KEYS.len();
    read_params(rest).ok()?.into_keys().find(is_unsupported).map(key_name)
}

fn next_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_whitespace()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_ascii_start())
}

fn read_params(mut rest: &str) -> Parsed<Params> {
    let mut params = Params::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_ascii_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let number = key_number(key)?;
        let (content, after) = match after.strip_prefix('=') {
            None => (None, after),
            Some(after) => match after.strip_prefix('"') {
                Some(inside) => read_quoted(inside).map(|(octets, after)| (Some(octets), after))?,
                None => {
                    let (word, after) = after.split_at(
                        after.find(|c: char| c.is_ascii_whitespace()).unwrap_or(after.len()),
                    );
                    if word.contains(['"', '\\']) {
                        return Err(format!(
                            "the value of {key} has a quotation mark or backslash: put it into quotation marks"
                        ));
                    }
                    (Some(word.as_bytes().to_vec()), after)
                }
            },
        };
        if !after.is_empty() && !after.starts_with(|c: char| c.is_ascii_whitespace()) {
            return Err(format!(
                "something follows the value of {key} at once: put a space between the parameters"
            ));
        }
        if params.insert(number, content).is_some() {
            return Err(format!("the parameter {key} stands twice (RFC 9460 §2.1)"));
        }
        rest = after.trim_ascii_start();
    }
    Ok(params)
}

fn key_number(key: &str) -> Parsed<u16> {
    if let Some(place) = KEYS.iter().position(|known| *known == key) {
        return u16::try_from(place).map_err(|error| error.to_string());
    }
    let unknown = || {
        format!(
            "the parameter {key:?} is not one of {}; write others as key9 to key65534, in lower case (RFC 9460 §2.1)",
            KEYS.join(", ")
        )
    };
    let digits =
        key.strip_prefix("key").filter(|digits| !digits.starts_with('0')).ok_or_else(unknown)?;
    // A registered key by its number has its value in another form, and 65535 is kept for ever (RFC 9460 §14.3).
    number::<u16>(digits, "key")
        .ok()
        .filter(|number| (9..u16::MAX).contains(number))
        .ok_or_else(unknown)
}

fn key_name(number: u16) -> String {
    KEYS.get(usize::from(number)).map_or_else(|| format!("key{number}"), |name| (*name).to_owned())
}

/// The canonical value of a parameter; `None` if it has no value.
fn canonical_content(
    number: u16,
    content: Option<&[u8]>,
    params: &Params,
) -> Parsed<Option<Vec<u8>>> {
    let name = key_name(number);
    match (number, content) {
        (2 | 8, None) => return Ok(None),
        (2 | 8, Some(_)) => return Err(format!("{name} has no value: remove what follows it")),
        (9.., content) => return Ok(content.map(<[u8]>::to_vec)),
        _ => {}
    }
    let content = content
        .filter(|content| !content.is_empty())
        .ok_or_else(|| format!("{name} needs a value: {name}=…"))?;
    if number == 1 {
        // Protocol ids are octets, and a comma in one is escaped: only an empty one is surely wrong.
        let is_list = content.split(|octet| *octet == b',').all(|id| !id.is_empty());
        return is_list
            .then(|| Some(content.to_vec()))
            .ok_or_else(|| "alpn has an empty protocol id".to_owned());
    }
    let content =
        std::str::from_utf8(content).map_err(|_| format!("the value of {name} is no text"))?;
    let canonical = match number {
        0 => canonical_mandatory(content, params)?,
        3 => number_text(content)?,
        4 => each(content, a)?,
        5 => base64(content)?,
        6 => each(content, aaaa)?,
        // RFC 9461 §5: a URI template, relative to the root, with the variable `dns`.
        _ if content.starts_with('/') && content.contains("dns}") => content.to_owned(),
        _ => return Err("dohpath is no template such as /dns-query{?dns} (RFC 9461 §5)".to_owned()),
    };
    Ok(Some(canonical.into_bytes()))
}

/// RFC 9460 §8: other keys that stand in the record, each once, in the order of their numbers.
fn canonical_mandatory(content: &str, params: &Params) -> Parsed {
    let mut numbers = content.split(',').map(key_number).collect::<Parsed<Vec<_>>>()?;
    numbers.sort_unstable();
    let count = numbers.len();
    numbers.dedup();
    if numbers.len() != count
        || numbers.iter().any(|number| *number == 0 || !params.contains_key(number))
    {
        return Err(
            "mandatory lists other parameters of this value, each once (RFC 9460 §8)".to_owned()
        );
    }
    Ok(numbers.into_iter().map(key_name).collect::<Vec<_>>().join(","))
}

fn number_text(content: &str) -> Parsed {
    number::<u16>(content, "port").map(|port| port.to_string())
}

fn each(list: &str, canonical: fn(&str) -> Parsed) -> Parsed {
    Ok(list.split(',').map(canonical).collect::<Parsed<Vec<_>>>()?.join(","))
}

fn base64(content: &str) -> Parsed {
    let body = content.trim_end_matches('=');
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    if content.len().is_multiple_of(4)
        && content.len() - body.len() <= 2
        && body.bytes().all(alphabet)
    {
        Ok(content.to_owned())
    } else {
        Err("ech is not Base64 with its padding (RFC 4648 §4)".to_owned())
    }
}

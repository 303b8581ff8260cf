//! The syntax of values, type by type, with Route 53's texts. It is the emulator's own reading, so that a mistake in the
//! broker's reading is not repeated here.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::messages;
use super::names::read_name;
use crate::core::dns::record::RecordType;

/// What is wrong with a value: the problem's name and its explanation.
struct Problem(&'static str, &'static str);

type Checked = Result<(), Problem>;

const NOT_A_NUMBER: Problem = Problem("InvalidNumber", "Value is not a valid number");
const FIELD_COUNT: Problem = Problem("InvalidFieldCount", "Value has the wrong number of fields");
const NOT_HEXADECIMAL: Problem =
    Problem("InvalidHexString", "Value is not a valid hexadecimal string");

/// Checks one value; the error is the whole message.
pub(super) fn check(rtype: RecordType, value: &str) -> Result<(), String> {
    let checked = match rtype {
        RecordType::A => ipv4(value),
        RecordType::Aaaa => ipv6(value),
        RecordType::Txt | RecordType::Spf => strings(value),
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => return domain(value, value),
        RecordType::Mx => return numbers_then_name(value, 1),
        RecordType::Srv => return numbers_then_name(value, 3),
        RecordType::Soa => return soa(value),
        RecordType::Caa => caa(value),
        RecordType::Ds => hexadecimal(value, &[u16::MAX, 255, 255]),
        RecordType::Tlsa => hexadecimal(value, &[255, 255, 255]),
        RecordType::Sshfp => hexadecimal(value, &[255, 255]),
        RecordType::Naptr => naptr(value),
        RecordType::Svcb | RecordType::Https => return service(value),
    };
    checked.map_err(|Problem(problem, explanation)| {
        messages::invalid_value(problem, explanation, value)
    })
}

fn ipv4(value: &str) -> Checked {
    let problem = Problem("ARRDATAIllegalIPv4Address", "Value is not a valid IPv4 address");
    value.parse::<Ipv4Addr>().map(drop).map_err(|_| problem)
}

fn ipv6(value: &str) -> Checked {
    let problem = Problem("AAAARRDATAIllegalIPv6Address", "Value is not a valid IPv6 address");
    value.parse::<Ipv6Addr>().map(drop).map_err(|_| problem)
}

/// One or more quoted strings of at most 255 octets.
fn strings(value: &str) -> Checked {
    let unquoted =
        || Problem("InvalidCharacterString", "Value should be enclosed in quotation marks");
    let mut rest = value.trim();
    if rest.is_empty() {
        return Err(unquoted());
    }
    while !rest.is_empty() {
        rest = one_string(rest.strip_prefix('"').ok_or_else(unquoted)?)?.trim_start();
    }
    Ok(())
}

/// Reads to the closing quotation mark and answers what follows it.
fn one_string(text: &str) -> Result<&str, Problem> {
    let mut octets = 0;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if octets > 255 => {
                return Err(Problem("CharacterStringTooLong", "Value is too long"));
            }
            '"' => return Ok(text.get(at + 1..).unwrap_or("")),
            '\\' => {
                let escaped = text.as_bytes().get(at + 1..at + 4);
                if escaped
                    .is_some_and(|digits| digits.iter().all(|digit| (b'0'..=b'7').contains(digit)))
                {
                    characters.nth(2);
                } else if characters.next().is_none() {
                    break;
                }
                octets += 1;
            }
            _ => octets += character.len_utf8(),
        }
    }
    Err(Problem("InvalidCharacterString", "Value should be enclosed in quotation marks"))
}

fn domain(name: &str, _value: &str) -> Result<(), String> {
    if name == "." {
        return Ok(());
    }
    read_name(name).map(drop).map_err(|fatal| format!("Invalid Resource Record: '{fatal}'"))
}

fn number(text: &str, max: u32) -> Checked {
    match text.parse::<u32>() {
        Ok(number) if number <= max && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(NOT_A_NUMBER),
    }
}

fn numbers_then_name(value: &str, count: usize) -> Result<(), String> {
    let as_message = |Problem(problem, explanation): Problem| {
        messages::invalid_value(problem, explanation, value)
    };
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [numbers @ .., name] = fields.as_slice() else { return Err(as_message(FIELD_COUNT)) };
    if numbers.len() != count {
        return Err(as_message(FIELD_COUNT));
    }
    for field in numbers {
        number(field, u32::from(u16::MAX)).map_err(as_message)?;
    }
    domain(name, value)
}

fn soa(value: &str) -> Result<(), String> {
    let as_message = |Problem(problem, explanation): Problem| {
        messages::invalid_value(problem, explanation, value)
    };
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [server, mailbox, numbers @ ..] = fields.as_slice() else {
        return Err(as_message(FIELD_COUNT));
    };
    if numbers.len() != 5 {
        return Err(as_message(FIELD_COUNT));
    }
    for field in numbers {
        number(field, u32::MAX).map_err(as_message)?;
    }
    domain(server, value)?;
    domain(mailbox, value)
}

fn caa(value: &str) -> Checked {
    let mut fields = value.splitn(3, ' ');
    let (Some(flags), Some(tag), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(FIELD_COUNT);
    };
    number(flags, 255)?;
    if tag.is_empty() || !tag.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Problem("InvalidCAATag", "Value is not a valid CAA tag"));
    }
    strings(text)
}

/// Numbers, then hexadecimal digits, which may be split by spaces.
fn hexadecimal(value: &str, maxima: &[u16]) -> Checked {
    let fields: Vec<&str> = value.split_whitespace().collect();
    if fields.len() <= maxima.len() {
        return Err(FIELD_COUNT);
    }
    let (numbers, digits) = fields.split_at(maxima.len());
    for (field, max) in numbers.iter().zip(maxima) {
        number(field, u32::from(*max))?;
    }
    let digits = digits.concat();
    if digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(())
    } else {
        Err(NOT_HEXADECIMAL)
    }
}

/// Order, preference, three quoted strings, a name (RFC 3403 §4.1).
fn naptr(value: &str) -> Checked {
    let mut fields = value.splitn(3, ' ');
    let (Some(order), Some(preference), Some(rest)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(FIELD_COUNT);
    };
    number(order, u32::from(u16::MAX))?;
    number(preference, u32::from(u16::MAX))?;
    let mut rest = rest;
    for _ in 0..3 {
        let open = rest.trim_start().strip_prefix('"').ok_or(FIELD_COUNT)?;
        rest = one_string(open)?;
    }
    let replacement = rest.trim();
    if replacement == "." || read_name(replacement).is_ok() {
        Ok(())
    } else {
        Err(Problem("InvalidDomainName", "Value is not a valid domain name"))
    }
}

/// Priority, target, parameters (RFC 9460 §2.1).
fn service(value: &str) -> Result<(), String> {
    let as_message = |Problem(problem, explanation): Problem| {
        messages::invalid_value(problem, explanation, value)
    };
    let mut fields = value.split_whitespace();
    let (Some(priority), Some(target)) = (fields.next(), fields.next()) else {
        return Err(as_message(FIELD_COUNT));
    };
    number(priority, u32::from(u16::MAX)).map_err(as_message)?;
    domain(target, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_route_53_takes() {
        for (rtype, value) in [
            (RecordType::A, "192.0.2.1"),
            (RecordType::Aaaa, "2001:0db8:0:0::1"),
            (RecordType::Txt, "\"a\" \"b \\\" \\101\""),
            (RecordType::Cname, "target.example.com"),
            (RecordType::Mx, "10 mail.example.com."),
            (RecordType::Mx, "0 ."),
            (RecordType::Srv, "1 2 443 server.example.com"),
            (RecordType::Caa, "0 issue \"ca.example.net; policy=ev\""),
            (RecordType::Ds, "12345 8 2 0A1b"),
            (RecordType::Sshfp, "4 2 0123 4567"),
            (RecordType::Naptr, "100 10 \"U\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" ."),
            (RecordType::Https, "1 . alpn=\"h2\""),
        ] {
            assert_eq!(check(rtype, value), Ok(()), "{rtype} {value}");
        }
    }

    #[test]
    fn values_that_route_53_refuses() {
        for (rtype, value, problem) in [
            (RecordType::A, "192.0.2.256", "ARRDATAIllegalIPv4Address"),
            (RecordType::Aaaa, "192.0.2.1", "AAAARRDATAIllegalIPv6Address"),
            (RecordType::Txt, "plain", "InvalidCharacterString"),
            (RecordType::Txt, "\"open", "InvalidCharacterString"),
            (RecordType::Cname, "a..example.com", "DomainLabelEmpty"),
            (RecordType::Mx, "mail.example.com", "InvalidFieldCount"),
            (RecordType::Mx, "65536 mail.example.com", "InvalidNumber"),
            (RecordType::Ds, "1 2 3 xyz", "InvalidHexString"),
            (RecordType::Caa, "0 issue ca.example.net", "InvalidCharacterString"),
        ] {
            let message = check(rtype, value).unwrap_err();
            assert!(message.contains(problem), "{rtype} {value}: {message}");
        }
    }

    #[test]
    fn a_text_string_holds_255_octets_and_escapes_count_once() {
        assert!(check(RecordType::Txt, &format!("\"{}\"", "a".repeat(255))).is_ok());
        assert!(check(RecordType::Txt, &format!("\"{}\"", "\\101".repeat(255))).is_ok());
        let message = check(RecordType::Txt, &format!("\"{}\"", "a".repeat(256))).unwrap_err();
        assert!(message.contains("CharacterStringTooLong (Value is too long)"));
    }
}

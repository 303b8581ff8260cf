//! The syntax of values, type by type, with Route 53's texts. It is the emulator's own reading, so that a mistake in the
//! broker's reading is not repeated here.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::names::read_name;
use super::service_values;
use super::value_problem::{
    Checked, Problem, domain, message, not_a_number, problem, problem_at, unsupported,
};
use crate::core::dns::record_type::RecordType;

/// Checks one value; the error is the whole message.
pub(super) fn check(rtype: RecordType, value: &str) -> Result<(), String> {
    let checked = match rtype {
        RecordType::A => ipv4(value),
        RecordType::Aaaa => ipv6(value),
        RecordType::Txt | RecordType::Spf => strings(value),
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => return domain(value),
        RecordType::Mx => return mx(value),
        RecordType::Srv => return srv(value),
        RecordType::Soa => return soa(value),
        RecordType::Caa => caa(value),
        RecordType::Ds => ds(value),
        RecordType::Tlsa => tlsa(value),
        RecordType::Sshfp => sshfp(value),
        RecordType::Naptr => naptr(value),
        RecordType::Svcb | RecordType::Https => return service_values::check(value),
        // No request gets so far with one.
        RecordType::Other(_) => Ok(()),
    };
    checked.map_err(|problem| message(problem, value))
}

fn ipv4(value: &str) -> Checked {
    if value.contains(char::is_whitespace) {
        return Err(problem("ARRDATANotSingleField", "Value contains spaces"));
    }
    let illegal = problem("ARRDATAIllegalIPv4Address", "Value is not a valid IPv4 address");
    value.parse::<Ipv4Addr>().map(drop).map_err(|_| illegal)
}

fn ipv6(value: &str) -> Checked {
    if value.contains(char::is_whitespace) {
        return Err(problem("AAAARRDATANotSingleField", "Value contains spaces"));
    }
    let illegal = problem("AAAARRDATAIllegalIPv6Address", "Value is not a valid IPv6 address");
    value.parse::<Ipv6Addr>().map(drop).map_err(|_| illegal)
}

fn unquoted() -> Problem {
    problem("InvalidCharacterString", "Value should be enclosed in quotation marks")
}

/// One or more quoted strings of at most 255 octets, with blanks between them or none.
fn strings(value: &str) -> Checked {
    if let Some(character) = value.chars().find(|character| !(' '..='~').contains(character)) {
        return Err(unsupported(character));
    }
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
                return Err(problem("CharacterStringTooLong", "Value is too long"));
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
    Err(unquoted())
}

fn number(text: &str, max: u32) -> Checked {
    match text.parse::<u32>() {
        Ok(number) if number <= max && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(not_a_number()),
    }
}

fn mx(value: &str) -> Result<(), String> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [preference, exchange] = fields.as_slice() else {
        let count = problem("MXRRDATANotTwoFields", "MX record doesn't have 2 fields");
        return Err(message(count, value));
    };
    number(preference, u32::from(u16::MAX)).map_err(|problem| message(problem, value))?;
    domain(exchange)
}

fn srv(value: &str) -> Result<(), String> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [numbers @ .., target] = fields.as_slice() else {
        return Err(message(srv_fields(), value));
    };
    if numbers.len() != 3 {
        return Err(message(srv_fields(), value));
    }
    for field in numbers {
        number(field, u32::from(u16::MAX)).map_err(|problem| message(problem, value))?;
    }
    domain(target)
}

fn srv_fields() -> Problem {
    problem("SRVRRDATANotFourFields", "SRV record doesn't have 4 fields")
}

fn soa(value: &str) -> Result<(), String> {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [server, mailbox, numbers @ ..] = fields.as_slice() else {
        return Err(message(soa_fields(), value));
    };
    if numbers.len() != 5 {
        return Err(message(soa_fields(), value));
    }
    for field in numbers {
        number(field, u32::MAX).map_err(|problem| message(problem, value))?;
    }
    domain(server)?;
    domain(mailbox)
}

fn soa_fields() -> Problem {
    problem("SOARRDATANotSevenFields", "SOA record doesn't have 7 fields")
}

fn caa(value: &str) -> Checked {
    let mut fields = value.splitn(3, ' ');
    let (Some(flags), Some(tag), Some(text)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(problem("CAARRDATANotThreeFields", "CAA record doesn't have 3 fields"));
    };
    number(flags, 255)?;
    if !["issue", "issuewild", "iodef"].contains(&tag) {
        let rule = "Only issue/issuewild/iodef is allowed for non critical flags.";
        return Err(problem_at("CAARRDATAInvalidTag", "Invalid tag", rule));
    }
    strings(text)
}

fn is_hexadecimal(text: &str) -> bool {
    !text.is_empty()
        && text.len().is_multiple_of(2)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// RFC 4034 §5.3: key tag, algorithm, digest type, digest.
fn ds(value: &str) -> Checked {
    let fields: Vec<&str> = value.split_whitespace().collect();
    let wrong = || {
        problem_at(
            "DSRRDATAInvalidValue",
            "Invalid value for field \"RData\"",
            "Wrong format or it doesn't contain all fields.",
        )
    };
    let [key_tag, algorithm, digest_type, digest] = fields.as_slice() else {
        return Err(wrong());
    };
    let numbers = number(key_tag, u32::from(u16::MAX))
        .and_then(|()| number(algorithm, 255))
        .and_then(|()| number(digest_type, 255));
    if numbers.is_ok() && is_hexadecimal(digest) { Ok(()) } else { Err(wrong()) }
}

/// A field of which only some numbers are taken.
fn choice(
    name: &'static str,
    field: &str,
    explanation: &str,
    text: &str,
    taken: std::ops::RangeInclusive<u32>,
) -> Checked {
    match text.parse::<u32>() {
        Ok(number) if taken.contains(&number) => Ok(()),
        _ => Err(problem_at(
            name,
            &format!("Invalid value for field \"{field}\""),
            format!("{explanation} not supported: {text}"),
        )),
    }
}

/// RFC 6698 §2.2: usage, selector, matching type, data.
fn tlsa(value: &str) -> Checked {
    const INVALID: &str = "TLSAInvalidValue";
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [usage, selector, matching, data] = fields.as_slice() else {
        return Err(problem(
            "TLSAMissingFields",
            "Missing fields, needs: certificate usage, selector, matching type, certificate association data",
        ));
    };
    choice(INVALID, "Certificate Usage", "Certificate Usage value", usage, 0..=3)?;
    choice(INVALID, "Selector", "Selector value", selector, 0..=1)?;
    choice(INVALID, "Matching Type", "Matching Type", matching, 0..=2)?;
    if is_hexadecimal(data) {
        return Ok(());
    }
    Err(problem_at(
        INVALID,
        "Invalid value for field \"Certificate Association Data\"",
        format!("Invalid certificate association data hexstring value: {data}"),
    ))
}

/// RFC 4255 §3.1: algorithm, fingerprint type, fingerprint.
fn sshfp(value: &str) -> Checked {
    const INVALID: &str = "SSHFPInvalidValue";
    let fields: Vec<&str> = value.split_whitespace().collect();
    let [algorithm, kind, fingerprint] = fields.as_slice() else {
        return Err(problem(
            "SSHFPMissingFields",
            "Missing fields, needs: algorithm, fingerprint type, fingerprint",
        ));
    };
    choice(INVALID, "Algorithm", "Algorithm value", algorithm, 0..=255)?;
    choice(INVALID, "Fingerprint Type", "Fingerprint Type value", kind, 1..=2)?;
    if is_hexadecimal(fingerprint) {
        return Ok(());
    }
    Err(problem_at(
        INVALID,
        "Invalid value for field \"Fingerprint\"",
        format!("Invalid fingerprint hexstring value: {fingerprint}"),
    ))
}

/// Order, preference, three quoted strings, a name (RFC 3403 §4.1).
fn naptr(value: &str) -> Checked {
    let invalid = || problem("NAPTRRRDATANotValid", "Invalid NAPTR record");
    if let Some(character) = value.chars().find(|character| !(' '..='~').contains(character)) {
        return Err(unsupported(character));
    }
    let mut fields = value.splitn(3, ' ');
    let (Some(order), Some(preference), Some(mut rest)) =
        (fields.next(), fields.next(), fields.next())
    else {
        return Err(invalid());
    };
    let bounded = |text: &str, name, explanation| match text.parse::<u64>() {
        Ok(number) if number <= u64::from(u16::MAX) => Ok(()),
        Ok(_) => Err(problem(name, explanation)),
        Err(_) => Err(invalid()),
    };
    bounded(order, "NAPTRRRDATAOrderOutOfBounds", "NAPTR record order value is out of bounds")?;
    bounded(
        preference,
        "NAPTRRRDATAPreferenceOutOfBounds",
        "NAPTR record preference value is out of bounds",
    )?;
    let mut has_expression = false;
    for _ in 0..3 {
        let open = rest.trim_start().strip_prefix('"').ok_or_else(invalid)?;
        has_expression = !open.starts_with('"');
        rest = one_string(open).map_err(|_| invalid())?;
    }
    let replacement = rest.trim();
    if replacement != "." && (read_name(replacement).is_err() || replacement.contains(' ')) {
        return Err(invalid());
    }
    if has_expression && replacement != "." {
        return Err(Problem {
            grade: "WARNING",
            ..problem(
                "NAPTRRRDATARegexpAndReplacementError",
                "NAPTR record can have only one field in regexp and replacement",
            )
        });
    }
    Ok(())
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
            (RecordType::Sshfp, "4 2 01234567"),
            (RecordType::Tlsa, "3 1 1 0A1b"),
            (RecordType::Txt, "\"first\"\"second\""),
            (RecordType::Cname, "192.0.2.1"),
            (RecordType::Cname, "a:b/c%d.example.com"),
            (RecordType::Naptr, "100 10 \"U\" \"E2U+sip\" \"!^.*$!sip:info@example.com!\" ."),
            (RecordType::Https, "1 . alpn=\"h2\""),
            (RecordType::Https, "32767 a.example.com alpn=h2,h3 no-default-alpn port=443 ohttp"),
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
            (RecordType::Mx, "mail.example.com", "MXRRDATANotTwoFields"),
            (RecordType::Mx, "65536 mail.example.com", "InvalidNumber"),
            (RecordType::Ds, "1 2 3 xyz", "DSRRDATAInvalidValue"),
            (RecordType::Sshfp, "4 0 0123", "Fingerprint Type value not supported: 0"),
            (RecordType::Caa, "128 other \"x\"", "CAARRDATAInvalidTag"),
            (RecordType::Txt, "\"a\ttab\"", "UnsupportedCharacter"),
            (RecordType::Aaaa, "::1 ::2", "AAAARRDATANotSingleField"),
            (RecordType::Svcb, "1 . key10=x", "presentation name has invalid value: key10"),
            (RecordType::Svcb, "1 . mandatory=port port=1", "invalid value: mandatory"),
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

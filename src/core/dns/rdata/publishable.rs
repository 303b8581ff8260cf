//! Values that are sound by their RFC and that Route 53 refuses, checked before clusters publish them. Route 53 may still hold
//! such values, from before a rule or in a type that has none, and they are read.

use arcstr::ArcStr;

use super::super::record_type::RecordType;
use super::{ValueError, canonical_value, svcb};

/// Route 53 accepts 15 bits of the priority of SVCB and HTTPS.
const MAX_SVC_PRIORITY: u32 = 32_767;

/// Checks canonical values that are to be published; `written` is what they were read from, for the error.
///
/// # Errors
/// The first value that Route 53 would refuse, or that its author cannot have meant.
pub fn check_publishable(
    rtype: RecordType,
    values: &[ArcStr],
    written: &[ArcStr],
) -> Result<(), ValueError> {
    for value in values {
        if let Err(problem) = check(rtype, value) {
            let is_origin =
                |text: &&ArcStr| canonical_value(rtype, text).as_deref() == Ok(value.as_str());
            let shown = written.iter().find(is_origin).unwrap_or(value);
            return Err(ValueError::new(rtype, shown, problem));
        }
    }
    Ok(())
}

fn check(rtype: RecordType, value: &str) -> Result<(), String> {
    let host = |name: &str| host_problem(name).map_or(Ok(()), Err);
    let mut words = value.split(' ');
    match rtype {
        RecordType::Cname | RecordType::Ns | RecordType::Ptr => host(value),
        RecordType::Mx | RecordType::Srv => words.next_back().map_or(Ok(()), host),
        RecordType::Https | RecordType::Svcb => {
            check_service(words.next().unwrap_or_default(), value)?;
            words.next().map_or(Ok(()), host)
        }
        RecordType::Caa => match words.nth(1) {
            Some("issue" | "issuewild" | "iodef") | None => Ok(()),
            Some(tag) => Err(format!(
                "Route 53 accepts the tags issue, issuewild and iodef, and not {tag:?}"
            )),
        },
        RecordType::Tlsa => {
            let fields = [("usage", 0, 3), ("selector", 0, 1), ("matching type", 0, 2)];
            fields.iter().zip(words).try_for_each(|(field, word)| in_range(*field, word))
        }
        RecordType::Sshfp => {
            words.nth(1).map_or(Ok(()), |word| in_range(("fingerprint type", 1, 2), word))
        }
        _ => Ok(()),
    }
}

fn in_range((what, least, most): (&str, u32, u32), word: &str) -> Result<(), String> {
    match word.parse::<u32>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!("the {what} is {word} and Route 53 accepts {least} to {most}")),
    }
}

fn check_service(priority: &str, value: &str) -> Result<(), String> {
    in_range(("priority", 0, MAX_SVC_PRIORITY), priority)?;
    match svcb::unsupported_parameter(value) {
        None => Ok(()),
        Some(key) => Err(format!("Route 53 does not accept the parameter {key}: remove it")),
    }
}

/// Why a canonical name is no host name, and how to fix it; `None` if it is one, or the root. RFC 1123 §2.1: the last label of a
/// host name is not a number, or it could be taken for an address; and none of `:`, `/` and `%` stands in it.
pub fn host_problem(name: &str) -> Option<String> {
    let body = name.strip_suffix('.').unwrap_or(name);
    if body.is_empty() {
        return None;
    }
    for (escape, character, remedy) in [
        ("\\072", ':', "leave the port away, and give an IPv6 address under the type AAAA"),
        ("\\057", '/', "leave the path or the prefix length away"),
        ("\\045", '%', "leave the zone or route domain away"),
    ] {
        if body.contains(escape) {
            return Some(format!(
                "no host name holds {:?} (RFC 1123 §2.1): {remedy}",
                character.to_string()
            ));
        }
    }
    let last = body.rsplit('.').next().unwrap_or(body);
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| {
        "no host name ends in a number (RFC 1123 §2.1): correct the name, or give an address under the type A".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dns::rdata::canonical_values;
    use crate::core::dns::record_type::RecordType::*;

    fn checked(rtype: RecordType, value: &str) -> Result<(), ValueError> {
        let written = [ArcStr::from(value)];
        let values = canonical_values(rtype, &written).unwrap();
        check_publishable(rtype, &values, &written)
    }

    #[test]
    fn rfc1123_2_1_what_looks_like_an_address_is_no_host_name() {
        for (rtype, value, remedy) in [
            (Cname, "192.0.2.300", "under the type A"),
            (Cname, "192.0.2.1", "under the type A"),
            (Cname, "192.0.2.1.", "under the type A"),
            (Cname, "7", "under the type A"),
            (Cname, "192.0.2.191:443", "leave the port away"),
            (Cname, "2001:db8::1", "under the type AAAA"),
            (Cname, "192.0.2.192/32", "the prefix length away"),
            (Cname, "http://www.example.com", "leave the port away"),
            (Cname, "192.0.2.1%5", "route domain away"),
            (Ns, "192.0.2.53", "under the type A"),
            (Mx, "10 192.0.2.25", "under the type A"),
            (Srv, "1 1 443 192.0.2.1", "under the type A"),
            (Ptr, "10.in-addr/arpa", "the prefix length away"),
            (Https, "1 192.0.2.1", "under the type A"),
        ] {
            let message = checked(rtype, value).unwrap_err().to_string();
            assert!(message.starts_with(&format!("{rtype} value {value:?}: ")), "{message}");
            assert!(message.contains(remedy), "{message}");
        }
        for (rtype, value) in [
            (Cname, "1.2.3.4.in-addr.arpa"),
            (Cname, "_x.*.example.com"),
            (Cname, "a.1com"),
            (Cname, "3com"),
            (Mx, "0 ."),
            (Srv, "0 0 0 ."),
            (Https, "1 ."),
            (Ns, "ns-1.example.net"),
        ] {
            assert_eq!(checked(rtype, value), Ok(()), "{rtype} {value}");
        }
    }

    #[test]
    fn values_that_route_53_refuses_are_told_before_a_call() {
        let octets = "0a".repeat(32);
        for (rtype, value, part) in [
            (Tlsa, format!("4 1 1 {octets}"), "the usage is 4 and Route 53 accepts 0 to 3"),
            (Tlsa, format!("3 2 1 {octets}"), "the selector is 2"),
            (Tlsa, format!("3 1 3 {octets}"), "the matching type is 3"),
            (Sshfp, "4 0 0a".to_owned(), "the fingerprint type is 0 and Route 53 accepts 1 to 2"),
            (Sshfp, "4 3 0a".to_owned(), "the fingerprint type is 3"),
            (Caa, "0 issuemail \"x\"".to_owned(), "accepts the tags issue, issuewild and iodef"),
            (Caa, "128 other \"x\"".to_owned(), "not \"other\""),
            (Https, "32768 .".to_owned(), "the priority is 32768"),
            (Svcb, "1 . key10=x".to_owned(), "the parameter key10"),
            (Svcb, "1 . mandatory=port port=1".to_owned(), "the parameter mandatory"),
        ] {
            let message = checked(rtype, &value).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        for (rtype, value) in [
            (Tlsa, format!("3 1 1 {octets}")),
            (Sshfp, format!("4 2 {octets}")),
            (Caa, "0 IssueWild \";\"".to_owned()),
            (Https, "32767 . alpn=\"h2\" ohttp".to_owned()),
            (Ds, format!("1 13 2 {octets}")),
            (Txt, "192.0.2.1:443".to_owned()),
        ] {
            assert_eq!(checked(rtype, &value), Ok(()), "{rtype} {value}");
        }
    }
}

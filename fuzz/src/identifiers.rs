//! Short texts that are checked once, where they enter: identifiers, ARNs, patterns, durations, addresses of stores.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use zonefold::adapters::store::StoreUrl;
use zonefold::agent::sources::annotations::{normal_host, parse_ttl_secs};
use zonefold::config;
use zonefold::core::aws::access::{ExternalId, Partition, RoleArn};
use zonefold::core::dns::record::RecordType;
use zonefold::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use zonefold::core::planning::policy::ZonePattern;

/// The text is read as each of them.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    check_text::<ClusterId>(text);
    check_text::<EnvironmentId>(text);
    check_text::<AccountId>(text);
    check_text::<ZoneId>(text);
    if let Ok(zone) = ZoneId::from_wire(text) {
        assert_eq!(ZoneId::from_wire(zone.as_str()).unwrap(), zone);
    }
    if let Some(rtype) = RecordType::parse(text) {
        assert!(rtype.as_str().eq_ignore_ascii_case(text));
    }
    if let Ok(role) = RoleArn::parse(text) {
        assert_eq!(RoleArn::parse(role.as_str()).unwrap(), role);
        assert!(text.contains(role.account().as_str()));
        assert_eq!(Partition::parse(text.split(':').nth(1).unwrap()), Some(role.partition()));
    }
    if let Ok(external_id) = ExternalId::parse(text) {
        assert_eq!(external_id.expose(), text);
    }
    if let Ok(pattern) = ZonePattern::parse(text) {
        assert_eq!(ZonePattern::parse(&pattern.to_string()).unwrap(), pattern, "{pattern}");
    }
    if let Some(secs) = parse_ttl_secs(text) {
        assert!((1..=i64::from(i32::MAX)).contains(&secs));
        assert_eq!(parse_ttl_secs(&secs.to_string()), Some(secs));
    }
    let host = normal_host(text);
    assert!(host.len() <= text.len() * 3, "lower case is at most three times as long");
    check_store_url(text);
}

/// What is taken is kept as it is; what is not is named in the error, cut off.
fn check_text<T>(text: &str)
where
    T: FromStr<Err: Display> + Display + AsRef<str> + PartialEq + Debug,
{
    match text.parse::<T>() {
        Ok(id) => assert!(id.as_ref() == text && id.to_string() == text),
        Err(error) => assert!(error.to_string().len() < 1_500),
    }
}

/// A password in the address of a store is never shown.
fn check_store_url(text: &str) {
    // Of no other use, so that it can be found again; whatever the fuzzer writes may stand around it, and in its middle.
    const SECRET: &str = "s3cretpassw0rd";
    // Tabs and line breaks are no part of a URL, so what they part comes together.
    let shows_it = |shown: &str| shown.replace(['\t', '\n', '\r'], "").contains(SECRET);
    let given = match text.split_once('@') {
        Some((inside, rest)) if !shows_it(text) => {
            format!("postgres://user:{SECRET}{inside}{SECRET}@{rest}")
        }
        _ => text.to_owned(),
    };
    if !shows_it(text) {
        let in_file = config::StoreUrl::new(&given);
        assert!(
            !shows_it(&format!(
                "{in_file} {in_file:?} {}",
                serde_json::to_string(&in_file).unwrap()
            )),
            "{in_file}"
        );
    }
    match given.parse::<StoreUrl>() {
        Ok(url) if given.starts_with("postgres") => {
            assert!(shows_it(text) || !shows_it(&format!("{url} {url:?}")), "{url}")
        }
        Ok(url) => assert!(url.to_string().starts_with("sqlite:")),
        Err(error) => assert!(!shows_it(&error.to_string())),
    }
}

//! A call as it comes in: which operation, on what, by whom.

use http::{HeaderMap, Method};

use super::action::Action;

/// A request, read but not judged.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub action: Action,
    /// The bare zone id of the path, percent-decoded.
    pub zone: Option<String>,
    /// Other parts of the path: the change's id, the resource of tags, the type of a limit.
    pub parts: Vec<String>,
    pub query: Vec<(String, String)>,
    pub method: Method,
    /// Path and query, as received.
    pub target: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Call {
    /// A query parameter, when it is there and not empty.
    pub fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// The operation of a Route 53 path, with the zone and the other parts; `None` if it is unknown.
pub(super) fn route(method: &Method, path: &str) -> Option<(Action, Option<String>, Vec<String>)> {
    let path = path.strip_prefix("/2013-04-01/")?;
    let segments: Vec<String> = path.trim_end_matches('/').split('/').map(percent_decode).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let bare = |id: &str| Some(id.strip_prefix("/hostedzone/").unwrap_or(id).to_owned());
    let none = Vec::new;
    let found = match (method.as_str(), segments.as_slice()) {
        ("GET", ["hostedzone"]) => (Action::ListHostedZones, None, none()),
        ("POST", ["hostedzone"]) => (Action::CreateHostedZone, None, none()),
        ("GET", ["hostedzone", id]) => (Action::GetHostedZone, bare(id), none()),
        ("DELETE", ["hostedzone", id]) => (Action::DeleteHostedZone, bare(id), none()),
        ("GET", ["hostedzone", id, "rrset"]) => (Action::ListResourceRecordSets, bare(id), none()),
        ("POST", ["hostedzone", id, "rrset"]) => {
            (Action::ChangeResourceRecordSets, bare(id), none())
        }
        ("GET", ["hostedzonesbyname"]) => (Action::ListHostedZonesByName, None, none()),
        ("GET", ["hostedzonecount"]) => (Action::GetHostedZoneCount, None, none()),
        ("GET", ["change", id]) => (Action::GetChange, None, vec![(*id).to_owned()]),
        ("GET", ["tags", kind, id]) => {
            (Action::ListTagsForResource, None, vec![(*kind).to_owned(), (*id).to_owned()])
        }
        ("POST", ["tags", kind, id]) => {
            (Action::ChangeTagsForResource, None, vec![(*kind).to_owned(), (*id).to_owned()])
        }
        ("POST", ["tags", kind]) => (Action::ListTagsForResources, None, vec![(*kind).to_owned()]),
        ("GET", ["hostedzonelimit", id, kind]) => {
            (Action::GetHostedZoneLimit, bare(id), vec![(*kind).to_owned()])
        }
        ("GET", ["accountlimit", kind]) => {
            (Action::GetAccountLimit, None, vec![(*kind).to_owned()])
        }
        _ => return None,
    };
    Some(found)
}

/// Percent-decoding; a `+` stays one (Route 53 takes it literally).
pub(super) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) if *byte == b'%' => {
                decoded.push(octet);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// The parameters of a query.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// The parameters of a form, in which `+` is a space.
pub(super) fn form(text: &str) -> Vec<(String, String)> {
    query(&text.replace('+', "%20"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_change_path_is_taken_with_and_without_its_slash() {
        for path in [
            "/2013-04-01/hostedzone/Z1/rrset",
            "/2013-04-01/hostedzone/Z1/rrset/",
            "/2013-04-01/hostedzone/%2Fhostedzone%2FZ1/rrset",
        ] {
            let (action, zone, _) = route(&Method::POST, path).unwrap();
            assert_eq!(
                (action, zone.as_deref()),
                (Action::ChangeResourceRecordSets, Some("Z1")),
                "{path}"
            );
        }
        assert!(route(&Method::GET, "/2013-04-01/healthcheck").is_none());
    }

    #[test]
    fn a_plus_in_a_query_is_a_plus() {
        assert_eq!(query("name=%5C052.a%2Bb+c"), [("name".to_owned(), "\\052.a+b+c".to_owned())]);
    }
}

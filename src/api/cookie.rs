//! The cookies of people's browsers, and which requests with one may change something.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::core::people::public_url::PublicUrl;

/// A header that no form can send (Fetch §3.3, "CORS-safelisted request-header"): a page of another origin would have to ask first.
pub(super) const OWN_PAGE: HeaderName = HeaderName::from_static("x-zonefold-request");

/// A cookie of the broker.
pub(super) struct BrokerCookie {
    name: String,
    is_secure: bool,
}

impl BrokerCookie {
    /// The one of this use. Over TLS its name has the prefix `__Host-` (RFC 6265bis §4.1.3.2): only this very host can set it. On
    /// `http://localhost` browsers refuse such a name.
    pub(super) fn new(public_url: &PublicUrl, used_for: &str) -> Self {
        let prefix = if public_url.is_https() { "__Host-" } else { "" };
        Self { name: format!("{prefix}zonefold-{used_for}"), is_secure: public_url.is_https() }
    }

    /// The session of a browser.
    pub(super) fn session(public_url: &PublicUrl) -> Self {
        Self::new(public_url, "session")
    }

    /// Its value in a request.
    pub(super) fn read<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
        let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.name).then_some(value)
        });
        // Of two with one name nobody can say which is ours.
        match (pairs.next(), pairs.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }

    /// The header that sets it for some seconds. Links from elsewhere bring it along (`Lax`): from a chat, or from the provider.
    pub(super) fn set(&self, value: &str, max_age_secs: i64) -> Option<HeaderValue> {
        let secure = if self.is_secure { "; Secure" } else { "" };
        let text = format!(
            "{}={value}; Path=/; Max-Age={max_age_secs}; HttpOnly; SameSite=Lax{secure}",
            self.name
        );
        let mut value: HeaderValue = text.parse().ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The header that removes it.
    pub(super) fn clear(&self) -> Option<HeaderValue> {
        self.set("", 0)
    }
}

/// Whether a request that a browser sends with its cookie was made by a page of the broker itself.
pub(super) fn is_of_own_page(public_url: &PublicUrl, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    let is_same_origin = match text(&header::ORIGIN) {
        Some(origin) => origin == public_url.origin(),
        // Browsers send it with all that is no GET; one that does not has to say so in the other way.
        None => site == Some("same-origin"),
    };
    is_same_origin
        && site.is_none_or(|site| site == "same-origin")
        && headers.contains_key(&OWN_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PublicUrl {
        PublicUrl::parse(text).unwrap()
    }

    #[test]
    fn a_session_s_cookie_is_of_this_host_alone_and_no_script_reads_it() {
        let set = |at: &str| {
            let header = BrokerCookie::session(&url(at)).set("secret", 60).unwrap();
            assert!(header.is_sensitive());
            header.to_str().unwrap().to_owned()
        };
        assert_eq!(
            set("https://zonefold.example.com"),
            "__Host-zonefold-session=secret; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            set("http://localhost:7080"),
            "zonefold-session=secret; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }

    #[test]
    fn a_cookie_is_found_among_others_and_one_that_stands_there_twice_is_none() {
        let cookie = BrokerCookie::session(&url("https://zonefold.example.com"));
        for (line, found) in [
            ("__Host-zonefold-session=a", Some("a")),
            ("x=1; __Host-zonefold-session=a=b; y=2", Some("a=b")),
            ("zonefold-session=a", None),
            ("__Host-zonefold-session", None),
            ("__Host-zonefold-session=a; __Host-zonefold-session=b", None),
        ] {
            let headers = HeaderMap::from_iter([(header::COOKIE, line.parse().unwrap())]);
            assert_eq!(cookie.read(&headers), found, "{line}");
        }
    }

    #[test]
    fn what_changes_something_comes_from_a_page_of_the_broker() {
        let own = "https://zonefold.example.com";
        for (origin, site, has_header, expected) in [
            (Some(own), Some("same-origin"), true, true),
            (Some(own), None, true, true),
            (None, Some("same-origin"), true, true),
            (Some(own), Some("same-origin"), false, false),
            (None, None, true, false),
            (Some(own), Some("same-site"), true, false),
            (Some(own), Some("cross-site"), true, false),
            (Some(own), Some("none"), true, false),
            (Some("https://evil.test"), Some("cross-site"), true, false),
            (Some("https://evil.test"), None, true, false),
            (Some("http://zonefold.example.com"), None, true, false),
            (Some("https://zonefold.example.com.evil.test"), None, true, false),
            (Some("null"), None, true, false),
        ] {
            let mut headers = HeaderMap::new();
            origin.map(|text| headers.insert(header::ORIGIN, text.parse().unwrap()));
            site.map(|text| headers.insert("sec-fetch-site", text.parse().unwrap()));
            if has_header {
                headers.insert(OWN_PAGE, HeaderValue::from_static("1"));
            }
            assert_eq!(is_of_own_page(&url(own), &headers), expected, "{origin:?} {site:?}");
        }
    }
}

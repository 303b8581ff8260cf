//! ExternalDNS's annotations, read as ExternalDNS reads them.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use super::target::without_final_dot;
use super::{listed, unique};
use crate::core::dns::name::DnsName;

/// The prefixes that are read; the first wins.
pub const PREFIXES: [&str; 2] =
    ["external-dns.kubernetes.io/", "external-dns.alpha.kubernetes.io/"];

/// The annotation that says who may resolve the names of an object. It is our own.
pub const VISIBILITY: &str = "zonefold.dev/visibility";
/// The property that it becomes.
pub const VISIBILITY_PROPERTY: ArcStr = arcstr::literal!("zonefold/visibility");
/// Its values: the public, only those inside, those inside where there is a zone for them, or both.
const VISIBILITIES: [&str; 4] = ["public", "private", "internal", "both"];

/// The value of `controller` with which an object is ours to read.
const OUR_CONTROLLER: &str = "dns-controller";

const KNOWN: [&str; 13] = [
    "hostname",
    "internal-hostname",
    "target",
    "ttl",
    "controller",
    "set-identifier",
    "alias",
    "record-type",
    "access",
    "endpoints-type",
    "ingress",
    "ingress-hostname-source",
    "gateway-hostname-source",
];

/// Annotation families that become provider properties: `aws-weight` is `aws/weight`.
const FAMILIES: [(&str, &str); 4] =
    [("aws-", "aws/"), ("scw-", "scw/"), ("webhook-", "webhook/"), ("coredns-", "coredns/")];

/// The annotations of an object, as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `hostname`: names that the object wants.
    pub hostnames: Vec<ArcStr>,
    /// `internal-hostname`: names for the cluster-internal address.
    pub internal_hostnames: Vec<ArcStr>,
    /// `target`: the targets of the names, in place of those in the object's status.
    pub targets: Vec<ArcStr>,
    /// `ttl` in seconds.
    pub ttl_secs: Option<i64>,
    /// `set-identifier`; empty for none.
    pub set_identifier: ArcStr,
    /// Whether `controller` gives the object to another controller.
    pub foreign_controller: bool,
    /// Whether `record-type: ptr` asks for reverse records.
    pub wants_ptr: bool,
    /// `ingress-hostname-source` as written.
    pub ingress_hostname_source: Option<ArcStr>,
    /// `gateway-hostname-source` as written.
    pub gateway_hostname_source: Option<ArcStr>,
    /// `access` as written: which addresses of nodes a NodePort service gets.
    pub access: Option<ArcStr>,
    /// `endpoints-type` as written: which addresses a headless service gets.
    pub endpoints_type: Option<ArcStr>,
    /// `alias`, the provider families and the visibility.
    pub properties: BTreeMap<ArcStr, ArcStr>,
    /// Problems found, for people.
    pub warnings: Vec<String>,
}

impl Annotations {
    /// Reads an object's annotations under both prefixes.
    pub fn read(raw: &BTreeMap<String, String>) -> Self {
        let mut read = Self::default();
        for (key, (full_key, value)) in merge_prefixes(raw, &mut read.warnings) {
            read.take(key, full_key, value);
        }
        if let Some(word) = visibility(raw, &mut read.warnings) {
            read.properties.insert(VISIBILITY_PROPERTY.clone(), word);
        }
        read
    }

    fn take(&mut self, key: &str, full_key: &str, value: &str) {
        match key {
            "hostname" => self.hostnames = hostnames(full_key, value, &mut self.warnings),
            "internal-hostname" => {
                self.internal_hostnames = hostnames(full_key, value, &mut self.warnings)
            }
            "target" => self.targets = targets(value),
            "ttl" => match parse_ttl_secs(value) {
                Some(ttl_secs) => self.ttl_secs = Some(ttl_secs),
                None => self.warnings.push(format!(
                    "the annotation {full_key} is {value:?}, which is no time to live: write seconds (60) or a duration (1h30m) \
                     from 1 second to 2147483647 seconds; it is ignored"
                )),
            },
            "controller" => self.foreign_controller = value != OUR_CONTROLLER,
            "set-identifier" => self.set_identifier = value.into(),
            // ExternalDNS reads the literal "true" and nothing else. An alias that is made without being asked for can be refused.
            "alias" if matches!(value, "true" | "false") => {
                drop(self.properties.insert(arcstr::literal!("alias"), value.into()))
            }
            "alias" => self.warnings.push(format!(
                "the annotation {full_key} is {value:?}: write \"true\" or \"false\"; it is ignored"
            )),
            "record-type" if value.eq_ignore_ascii_case("ptr") => self.wants_ptr = true,
            "record-type" => {
                self.warnings.push(format!("the annotation {full_key} is {value:?}: only \"ptr\" has a meaning; it is ignored"))
            }
            "gateway-hostname-source" => self.gateway_hostname_source = Some(value.into()),
            "access" => self.access = Some(value.into()),
            "endpoints-type" => self.endpoints_type = Some(value.into()),
            "ingress-hostname-source" => self.ingress_hostname_source = Some(value.into()),
            _ if KNOWN.contains(&key) => {}
            _ => self.take_property(key, full_key, value),
        }
    }

    fn take_property(&mut self, key: &str, full_key: &str, value: &str) {
        let family = FAMILIES.iter().find_map(|(prefix, family)| {
            key.strip_prefix(prefix).map(|rest| format!("{family}{rest}"))
        });
        let name = match family {
            Some(name) => name,
            None if key == "azure-tags" => "azure/tags".to_owned(),
            // ExternalDNS keeps the whole key for this provider.
            None if key.starts_with("cloudflare-") => full_key.to_owned(),
            None => {
                self.warnings
                    .push(format!("the annotation {full_key} is not known; it is ignored"));
                return;
            }
        };
        self.properties.insert(name.into(), value.into());
    }
}

/// Suffix → (key, value); the newer prefix wins over the older one.
fn merge_prefixes<'a>(
    raw: &'a BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> BTreeMap<&'a str, (&'a str, &'a str)> {
    let mut merged: BTreeMap<&str, (&str, &str)> = BTreeMap::new();
    for prefix in PREFIXES {
        for (full_key, value) in raw {
            let Some(key) = full_key.strip_prefix(prefix) else { continue };
            match merged.get(key) {
                Some((winner, kept)) if kept != value => warnings.push(format!(
                    "the annotations {winner} ({kept:?}) and {full_key} ({value:?}) differ: the first is used; remove the other"
                )),
                Some(_) => {}
                None => drop(merged.insert(key, (full_key, value))),
            }
        }
    }
    merged
}

/// The word of [`VISIBILITY`]. One that is not known is passed on with a warning: the broker rejects it, and what was published
/// stays. Reading it as absent could publish what was meant for a few.
pub fn visibility(raw: &BTreeMap<String, String>, warnings: &mut Vec<String>) -> Option<ArcStr> {
    let word = raw.get(VISIBILITY)?.trim().to_lowercase();
    if word.is_empty() {
        return None;
    }
    if !VISIBILITIES.contains(&word.as_str()) {
        warnings.push(format!(
            "the annotation {VISIBILITY} is {word:?}: write public, private, internal or both; until then nothing new is published \
             of this object"
        ));
    }
    Some(word.into())
}

/// A name as the endpoint's key wants it: lower case, without the final dot.
pub fn normal_host(text: &str) -> ArcStr {
    ArcStr::from(without_final_dot(text).to_lowercase())
}

/// The host names of a list. An element that cannot be a host name is left out with a warning, because as a DNS name it could mean
/// something else than its author does. One that only breaks a limit is passed on with a warning, and gets the broker's verdict.
fn hostnames(full_key: &str, list: &str, warnings: &mut Vec<String>) -> Vec<ArcStr> {
    let mut hosts = unique(elements(list).map(normal_host));
    let (mut wrong, mut broken) = (Vec::new(), Vec::new());
    hosts.retain(|host| match spelling(host) {
        Spelling::Name => true,
        Spelling::Broken => {
            broken.push(host.clone());
            true
        }
        Spelling::NoName => {
            wrong.push(host.clone());
            false
        }
    });
    if !wrong.is_empty() {
        warnings.push(format!(
            "the annotation {full_key} has {}, which is no host name: write names of letters, digits, hyphens and dots, separated by \
             commas or white space; it is ignored",
            listed(wrong.iter())
        ));
    }
    if !broken.is_empty() {
        warnings.push(format!(
            "the annotation {full_key} has {}, which DNS does not take as a name: correct it",
            listed(broken.iter())
        ));
    }
    hosts
}

enum Spelling {
    Name,
    /// It looks like a name, and is too long or has an empty label.
    Broken,
    NoName,
}

fn spelling(host: &str) -> Spelling {
    // IDNA leaves these out, which would join what they separate.
    if host.contains(['\u{ad}', '\u{200b}', '\u{2060}', '\u{feff}']) {
        return Spelling::NoName;
    }
    let is_of_names = |c: char| c.is_alphanumeric() || "-_.*\\".contains(c) || !c.is_ascii();
    if !host.chars().all(is_of_names) {
        return Spelling::NoName;
    }
    match DnsName::parse(host) {
        // IDNA also turns some characters into punctuation, such as a wide comma.
        Ok(name)
            if !host.is_ascii() && name.as_str().trim_start_matches("\\052").contains('\\') =>
        {
            Spelling::NoName
        }
        Ok(_) => Spelling::Name,
        Err(_) => Spelling::Broken,
    }
}

fn targets(list: &str) -> Vec<ArcStr> {
    unique(elements(list).map(|target| without_final_dot(target).into()))
}

fn elements(list: &str) -> impl Iterator<Item = &str> {
    list.split(|c: char| c == ',' || c.is_whitespace()).filter(|element| !element.is_empty())
}

/// Seconds from an integer or a Go duration, fractions cut off; `None` outside 1 to 2,147,483,647.
pub fn parse_ttl_secs(text: &str) -> Option<i64> {
    let secs = match text.parse::<i64>() {
        Ok(secs) => secs,
        Err(_) => go_duration_secs(text)?,
    };
    (1..=i64::from(i32::MAX)).contains(&secs).then_some(secs)
}

/// Reads a Go duration such as `1h30m` or `1.5h`, and returns whole seconds.
fn go_duration_secs(text: &str) -> Option<i64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total_secs = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_secs = match unit {
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total_secs += number.parse::<f64>().ok()? * unit_secs;
        rest = tail;
    }
    // A float that is too large saturates and is then out of range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fractions of a second are cut off on purpose"
    )]
    let whole_secs = total_secs as i64;
    Some(whole_secs)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Annotations {
        Annotations::read(
            &pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn ttl_is_a_go_duration_or_seconds() {
        for (text, secs) in [
            ("60", Some(60)),
            ("1m", Some(60)),
            ("1h30m", Some(5_400)),
            ("1.5h", Some(5_400)),
            ("1m1.9s", Some(61)),
            ("+5s", Some(5)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("500ms", None),
            ("0", None),
            ("-5", None),
            ("-5s", None),
            ("", None),
            ("5 minutes", None),
            ("m", None),
            ("1d", None),
            ("1..5s", None),
        ] {
            assert_eq!(parse_ttl_secs(text), secs, "{text:?}");
        }
    }

    #[test]
    fn the_newer_prefix_wins_with_a_warning() {
        let both = read(&[
            ("external-dns.kubernetes.io/hostname", "new.example.com"),
            ("external-dns.alpha.kubernetes.io/hostname", "old.example.com"),
        ]);
        assert_eq!(both.hostnames, ["new.example.com"]);
        assert!(both.warnings[0].contains("remove the other"), "{:?}", both.warnings);

        let same = read(&[
            ("external-dns.kubernetes.io/hostname", "a.example.com"),
            ("external-dns.alpha.kubernetes.io/hostname", "a.example.com"),
        ]);
        assert!(same.warnings.is_empty());
        assert_eq!(read(&[("external-dns.alpha.kubernetes.io/ttl", "5m")]).ttl_secs, Some(300));
    }

    #[test]
    fn lists_lose_spaces_and_final_dots() {
        let read = read(&[
            ("external-dns.kubernetes.io/hostname", " A.Example.com. , b.example.com,,"),
            ("external-dns.kubernetes.io/target", "192.0.2.1, LB.example.net."),
        ]);
        assert_eq!(read.hostnames, ["a.example.com", "b.example.com"]);
        assert_eq!(read.targets, ["192.0.2.1", "LB.example.net"]);
    }

    #[test]
    fn provider_families_become_properties() {
        let read = read(&[
            ("external-dns.kubernetes.io/aws-weight", "10"),
            ("external-dns.kubernetes.io/aws-geolocation-country-code", "DE"),
            ("external-dns.kubernetes.io/alias", "true"),
            ("external-dns.kubernetes.io/webhook-x", "y"),
            ("external-dns.kubernetes.io/azure-tags", "a=b"),
            ("external-dns.kubernetes.io/cloudflare-proxied", "true"),
            ("example.com/other", "ignored"),
        ]);
        let names: Vec<_> =
            read.properties.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            names,
            [
                "alias=true",
                "aws/geolocation-country-code=DE",
                "aws/weight=10",
                "azure/tags=a=b",
                "external-dns.kubernetes.io/cloudflare-proxied=true",
                "webhook/x=y"
            ]
        );
        assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    }

    #[test]
    fn only_true_and_false_are_words_of_alias_and_only_ptr_of_record_type() {
        let read = read(&[
            ("external-dns.kubernetes.io/alias", "flase"),
            ("external-dns.kubernetes.io/record-type", "txt"),
            ("external-dns.kubernetes.io/hostnam", "typo.example.com"),
        ]);
        assert!(read.properties.is_empty() && !read.wants_ptr && read.hostnames.is_empty());
        assert_eq!(read.warnings.len(), 3);
    }

    #[test]
    fn another_controller_keeps_its_object() {
        assert!(read(&[("external-dns.kubernetes.io/controller", "other")]).foreign_controller);
        assert!(
            !read(&[("external-dns.kubernetes.io/controller", "dns-controller")])
                .foreign_controller
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(value in "\\PC{0,40}") {
            for key in KNOWN {
                read(&[(&format!("{}{key}", PREFIXES[0]), &value)]);
            }
        }
    }
}

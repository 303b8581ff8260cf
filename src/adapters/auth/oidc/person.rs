//! Who a person is by their claims.

use std::collections::BTreeSet;

use serde_json::Value;

use super::OidcSettings;
use crate::core::people::credential::SignedInPerson;
use crate::ports::SignInError;

/// RFC 5321 §4.5.3.1: the longest mail address has 64 octets, an @ and 255 octets.
const LONGEST_USER: usize = 320;

/// The claims that are read.
pub(super) struct PersonClaims<'a> {
    issuer: &'a str,
    user_claim: &'a str,
    groups_claim: &'a str,
}

/// A claim by its name, or by a path with dots into it; names of claims may have dots themselves.
fn claim<'a>(claims: &'a Value, path: &str) -> Option<&'a Value> {
    match claims.get(path) {
        Some(found) => Some(found),
        None => path.split('.').try_fold(claims, |claims, part| claims.get(part)),
    }
}

impl<'a> PersonClaims<'a> {
    pub(super) fn of(settings: &'a OidcSettings) -> Self {
        let OidcSettings { issuer, user_claim, groups_claim, .. } = settings;
        Self { issuer, user_claim, groups_claim }
    }

    /// Whether an id token says less than is wanted, so that the provider is asked for more.
    pub(super) fn lack_in(&self, claims: &Value) -> bool {
        [self.user_claim, self.groups_claim].iter().any(|path| claim(claims, path).is_none())
    }

    /// The person of an id token and of what else the provider says. The id token counts where both say something.
    pub(super) fn person(&self, id: &Value, more: &Value) -> Result<SignedInPerson, SignInError> {
        let find = |path: &str| claim(id, path).or_else(|| claim(more, path));
        let text = |path: &str| find(path).and_then(Value::as_str).map(str::trim);
        let user = text(self.user_claim).unwrap_or_default();
        let is_user =
            !user.is_empty() && user.len() <= LONGEST_USER && !user.chars().any(char::is_control);
        if !is_user {
            return Err(SignInError::Refused(format!(
                "the identity provider does not say who you are: the claim {:?} is missing or no name; an admin looks at oidc.scopes and oidc.user_claim",
                self.user_claim
            )));
        }
        // OpenID Connect Core 1.0 §5.1: an address that anybody may enter at the provider is nobody's name.
        if self.user_claim == "email" && find("email_verified") == Some(&Value::Bool(false)) {
            return Err(SignInError::Refused(
                "the identity provider has not verified your mail address: verify it there, and sign in again".to_owned(),
            ));
        }
        let user = match self.user_claim {
            "email" => user.to_lowercase(),
            _ => user.to_owned(),
        };
        // More groups than fit into a token are said elsewhere (§5.6.2).
        if id["_claim_names"].get(self.groups_claim).is_some() {
            tracing::warn!(
                user,
                claim = self.groups_claim,
                "the provider leaves the groups out, since there are many: have it send those alone that the rules name"
            );
        }
        Ok(SignedInPerson {
            user,
            issuer: self.issuer.to_owned(),
            subject: text("sub").unwrap_or_default().to_owned(),
            display_name: text("name").filter(|name| !name.is_empty()).map(str::to_owned),
            groups: find(self.groups_claim).map(groups).unwrap_or_default(),
        })
    }
}

/// Groups stand in a list, or one stands alone.
fn groups(claim: &Value) -> BTreeSet<String> {
    let texts = match claim {
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => vec![],
    };
    texts.into_iter().filter(|name| !name.trim().is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(user: &str, groups: &str, id: &Value, more: &Value) -> Result<SignedInPerson, String> {
        let wanted =
            PersonClaims { issuer: "https://id.test", user_claim: user, groups_claim: groups };
        wanted.person(id, more).map_err(|error| error.to_string())
    }

    #[test]
    fn a_person_is_read_from_the_id_token_and_from_what_else_the_provider_says() {
        let id = json!({ "sub": "7", "email": "Ann@Example.com", "name": "Ann" });
        let more = json!({ "sub": "7", "email": "else@example.com", "groups": ["pay", 7, ""] });
        let ann = read("email", "groups", &id, &more).unwrap();
        assert_eq!((ann.user.as_str(), ann.subject.as_str()), ("ann@example.com", "7"));
        assert_eq!(ann.display_name.as_deref(), Some("Ann"));
        assert_eq!(ann.groups, ["pay".to_owned()].into());
        let alone = json!({ "sub": "7", "email": "ann@example.com", "groups": "pay" });
        let alone = read("email", "groups", &alone, &Value::Null).unwrap();
        assert_eq!(alone.groups, ["pay".to_owned()].into());
    }

    #[test]
    fn a_claim_is_found_by_its_name_or_by_a_path() {
        let id = json!({
            "sub": "7", "https://id.test/roles": ["a"], "realm_access": { "roles": ["b", "c"] },
        });
        let groups = |path: &str| read("sub", path, &id, &Value::Null).unwrap().groups;
        assert_eq!(groups("https://id.test/roles"), ["a".to_owned()].into());
        assert_eq!(groups("realm_access.roles"), ["b".to_owned(), "c".to_owned()].into());
        assert_eq!(groups("realm_access.groups"), BTreeSet::new());
    }

    #[test]
    fn who_has_no_name_or_an_address_that_nobody_verified_is_not_signed_in() {
        for (id, part) in [
            (json!({ "sub": "7" }), "the claim \"email\" is missing"),
            (json!({ "sub": "7", "email": " " }), "is missing or no name"),
            (json!({ "sub": "7", "email": ["a@b"] }), "is missing or no name"),
            (json!({ "sub": "7", "email": "a\u{7}@b" }), "is missing or no name"),
            (json!({ "sub": "7", "email": "a@b", "email_verified": false }), "not verified"),
        ] {
            let error = read("email", "groups", &id, &Value::Null).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
        assert!(
            read("sub", "groups", &json!({ "sub": "7", "email_verified": false }), &Value::Null)
                .is_ok()
        );
    }
}

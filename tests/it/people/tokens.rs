//! Tokens that the store keeps: who makes which, for what, and until when.

use http::Method;
use serde_json::{Value, json};
use zonefold::core::governance::actor::Actor;
use zonefold::core::people::credential::{Credential, CredentialKind, SignedInPerson};
use zonefold::core::time::Millis;

use super::browser::Answer;
use super::site::{PeopleSite, ROOT, kind};

const TOKENS: &str = "/api/v1/tokens";

/// A session of somebody whom the provider knows so, as a program shows it.
pub async fn session(site: &PeopleSite, user: &str, groups: &[&str]) -> String {
    let now = site.handle.clock.now();
    let person = SignedInPerson {
        user: user.to_owned(),
        issuer: "https://id.test".to_owned(),
        subject: format!("subject of {user}"),
        display_name: None,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    };
    let session = Credential {
        id: uuid::Uuid::new_v4(),
        kind: CredentialKind::Session,
        name: "a test".to_owned(),
        made_by: Actor::User(user.to_owned()),
        person: Some(person),
        scope: None,
        made_at: now,
        ends_at: now + Millis::from_secs(3_600),
        revoked_at: None,
        used_at: None,
    };
    let secret = zonefold::api::secret::new_secret().unwrap();
    let hash = zonefold::api::secret::secret_hash(&secret);
    assert!(site.handle.store.add_credential(&hash, &session).await.unwrap());
    secret
}

async fn make(site: &PeopleSite, by: &str, wanted: Value) -> Answer {
    site.with_token(Method::POST, TOKENS, by, &wanted).await
}

/// The secret and the id of a token that is made.
async fn made(site: &PeopleSite, by: &str, wanted: Value) -> (String, String) {
    let answer = make(site, by, wanted).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let made = answer.json();
    let text = |key: &str| made[key].as_str().unwrap().to_owned();
    (text("secret"), text("id"))
}

async fn me(site: &PeopleSite, token: &str) -> Answer {
    site.with_token(Method::GET, "/api/v1/me", token, &Value::Null).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_opens_what_it_is_for_until_it_is_taken_back() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let ann = session(&site, "ann@example.com", &["pay-leads", "platform"]).await;
    let wanted = json!({ "name": "laptop", "role": "operator", "days": 7 });
    let (secret, id) = made(&site, &ann, wanted.clone()).await;
    let seen = me(&site, &secret).await.json();
    assert_eq!(
        [&seen["name"], &seen["kind"], &seen["role"], &seen["token"]["state"]],
        ["ann@example.com", "person", "operator", "live"]
    );
    assert_eq!(seen["teams"], json!([]), "it names none");
    let twice = make(&site, &ann, wanted).await;
    assert_eq!((twice.status, twice.body.contains("another name")), (409, true), "{}", twice.body);

    let listed = site.with_token(Method::GET, TOKENS, &ann, &Value::Null).await;
    assert!(!listed.body.contains(&secret) && listed.body.contains(&id), "{}", listed.body);
    let path = format!("{TOKENS}/{id}");
    let revoked = site.with_token(Method::DELETE, &path, &ann, &Value::Null).await.json();
    assert_eq!(revoked["state"], "revoked");
    let refused = me(&site, &secret).await;
    assert_eq!((refused.status, kind(&refused).as_str()), (401, "revoked"));
    assert!(refused.body.contains("zonefold token create"), "{}", refused.body);
    let again = site.with_token(Method::DELETE, &path, &ann, &Value::Null).await.json();
    assert_eq!(again["state"], "revoked");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expired_or_whose_team_was_removed_is_refused_with_what_to_do() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let team = json!({
        "apiVersion": "zonefold.dev/v1", "kind": "Team", "metadata": { "name": "risk" },
        "spec": { "owners": { "groups": ["risk-leads"] } },
    });
    let put = json!({ "put": [team] });
    let written = site.with_token(Method::POST, "/api/v1/rules", ROOT, &put).await;
    assert_eq!(written.status, 200, "{}", written.body);
    let rita = session(&site, "rita@example.com", &["risk-leads"]).await;
    let wanted =
        json!({ "name": "ci", "kind": "machine", "teams": ["risk"], "team_role": "owner" });
    let (secret, _) = made(&site, &rita, wanted).await;
    assert_eq!(me(&site, &secret).await.json()["teams"][0]["standing"], "owner");
    let delete = json!({ "delete": [{ "kind": "Team", "name": "risk" }] });
    let removed = site.with_token(Method::POST, "/api/v1/rules", ROOT, &delete).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    let gone = me(&site, &secret).await;
    assert_eq!((gone.status, kind(&gone).as_str()), (401, "team-gone"));
    assert!(gone.body.contains("the team risk"), "{}", gone.body);

    let now = site.handle.clock.now();
    let old = Credential {
        id: uuid::Uuid::new_v4(),
        kind: CredentialKind::Machine,
        name: "old".to_owned(),
        person: None,
        scope: Some(Default::default()),
        made_by: Actor::Token("root".to_owned()),
        made_at: now,
        ends_at: now,
        revoked_at: None,
        used_at: None,
    };
    let hash = zonefold::api::secret::secret_hash("zonefold_old");
    site.handle.store.add_credential(&hash, &old).await.unwrap();
    let expired = me(&site, "zonefold_old").await;
    assert_eq!((expired.status, kind(&expired).as_str()), (401, "expired"));
    let unknown = me(&site, "zonefold_guessed").await;
    assert_eq!((unknown.status, kind(&unknown).as_str()), (401, "unknown-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_makes_a_token_that_carries_more_than_they_have() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let owner = session(&site, "ann@example.com", &["pay-leads"]).await;
    let member = session(&site, "ben@example.com", &["pay"]).await;
    let guest = session(&site, "eve@example.com", &["guests"]).await;
    let operator = session(&site, "ops@example.com", &["platform"]).await;
    let (machine, _) =
        made(&site, ROOT, json!({ "name": "m", "kind": "machine", "role": "admin" })).await;
    let (of_person, _) = made(&site, &owner, json!({ "name": "p" })).await;
    let of = |kind: &str, more: Value| {
        let mut wanted = json!({ "name": uuid::Uuid::new_v4().to_string(), "kind": kind });
        for (key, value) in more.as_object().unwrap() {
            wanted[key] = value.clone();
        }
        wanted
    };
    for (by, wanted, status) in [
        (&owner, of("person", json!({})), 201),
        (&owner, of("person", json!({ "role": "operator" })), 403),
        (&owner, of("person", json!({ "teams": ["pay"], "team_role": "owner" })), 201),
        (&owner, of("person", json!({ "teams": ["shop"] })), 403),
        (&owner, of("machine", json!({ "teams": ["pay"], "team_role": "owner" })), 201),
        (&owner, of("machine", json!({ "teams": ["pay", "shop"] })), 403),
        (&owner, of("machine", json!({})), 403),
        (&member, of("person", json!({ "teams": ["pay"] })), 201),
        (&member, of("person", json!({ "teams": ["pay"], "team_role": "owner" })), 403),
        (&member, of("machine", json!({ "teams": ["pay"] })), 403),
        (&guest, of("person", json!({})), 403),
        (&guest, of("person", json!({ "environments": ["dev"] })), 201),
        (&guest, of("person", json!({ "environments": ["dev", "prod"] })), 403),
        (&operator, of("machine", json!({ "role": "operator" })), 201),
        (&operator, of("machine", json!({ "role": "admin" })), 403),
        (&operator, of("machine", json!({ "teams": ["pay"] })), 403),
        (&ROOT.to_owned(), of("machine", json!({ "role": "admin", "teams": ["pay"] })), 201),
        (&ROOT.to_owned(), of("person", json!({})), 403),
        (&machine, of("machine", json!({})), 403),
        (&of_person, of("person", json!({})), 403),
    ] {
        let answer = make(&site, by, wanted.clone()).await;
        assert_eq!(answer.status, status, "{wanted}: {}", answer.body);
    }
    for (wanted, part) in [
        (json!({}), "name"),
        (json!({ "name": " x" }), "white space"),
        (json!({ "name": "x".repeat(101) }), "name"),
        (json!({ "name": "x", "days": 0 }), "1 to 365"),
        (json!({ "name": "x", "days": 366 }), "1 to 365"),
        (json!({ "name": "x", "kind": "session" }), "signing in"),
        (json!({ "name": "x", "teams": ["nobody"] }), "no team nobody"),
        (json!({ "name": "x", "environments": ["nowhere"] }), "nowhere"),
        (json!({ "name": "x", "role": "root" }), "unknown variant"),
        (json!({ "name": "x", "scope": "all" }), "unknown field"),
    ] {
        let answer = make(&site, &owner, wanted.clone()).await;
        assert_eq!((answer.status, answer.body.contains(part)), (400, true), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_sees_one_s_own_tokens_owners_those_of_their_machines_and_admins_all() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let ann = session(&site, "ann@example.com", &["pay-leads"]).await;
    let ben = session(&site, "ben@example.com", &["pay-leads"]).await;
    let sue = session(&site, "sue@example.com", &["shop-leads"]).await;
    let (_, own) = made(&site, &ann, json!({ "name": "laptop" })).await;
    let machine = json!({ "name": "ci", "kind": "machine", "teams": ["pay"] });
    let (_, of_pay) = made(&site, &ann, machine).await;
    let seen = async |by: &str| {
        let listed = site.with_token(Method::GET, TOKENS, by, &Value::Null).await.json();
        let items = listed["items"].as_array().unwrap().clone();
        [&own, &of_pay].map(|id| items.iter().any(|item| item["id"] == **id))
    };
    for (by, expected) in [
        (ann.as_str(), [true, true]),
        (&ben, [false, true]),
        (&sue, [false, false]),
        (ROOT, [true, true]),
    ] {
        assert_eq!(seen(by).await, expected);
    }
    let filtered = format!("{TOKENS}?kind=machine&state=live&limit=1");
    let filtered = site.with_token(Method::GET, &filtered, ROOT, &Value::Null).await.json();
    assert_eq!((&filtered["items"][0]["id"], &filtered["next"]), (&json!(of_pay), &Value::Null));
    let revoke = async |by: &str, id: &str| {
        site.with_token(Method::DELETE, &format!("{TOKENS}/{id}"), by, &Value::Null).await.status
    };
    assert_eq!(revoke(&sue, &of_pay).await, 404);
    assert_eq!(revoke(&ben, &own).await, 404);
    assert_eq!(revoke(&ben, &of_pay).await, 200);
    assert_eq!(revoke(ROOT, &own).await, 200);
    assert_eq!(revoke(ROOT, "nothing").await, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_some_zones_changes_nothing_elsewhere() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let wanted = json!({
        "name": "m", "kind": "machine", "role": "operator", "zones": ["example.com"],
    });
    let (secret, _) = made(&site, ROOT, wanted).await;
    let grant = |zone: &str| {
        let names = [format!("www.{zone}")];
        json!({ "put": [{
            "apiVersion": "zonefold.dev/v1", "kind": "Grant", "metadata": { "name": "g" },
            "spec": { "zone": zone, "names": names, "clusters": { "names": ["dev-east"] } },
        }] })
    };
    let write = async |path: &str, body: &Value| {
        site.with_token(Method::POST, path, &secret, body).await.status
    };
    assert_eq!(write("/api/v1/rules?preview=true", &grant("example.com")).await, 200);
    assert_eq!(write("/api/v1/rules?preview=true", &grant("example.net")).await, 403);
    assert_eq!(write("/api/v1/names/www.example.com/reroute", &Value::Null).await, 200);
    assert_eq!(write("/api/v1/names/www.example.net/reroute", &Value::Null).await, 403);
}

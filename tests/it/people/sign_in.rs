//! Sign-in with a real provider: `oidc-provider`, which is certified.

use http::Method;
use serde_json::{Value, json};
use zonefold::core::time::{Millis, Timestamp};
use zonefold::ports::CredentialFilter;

use super::browser::Browser;
use super::provider::{Provider, write_people};
use super::site::{COOKIE, PeopleSite, kind};
use crate::support::folder::TestFolder;
use crate::support::network::free_address;

fn people() -> Value {
    json!({
        "ann": { "name": "Ann", "email": "Ann@Example.com", "email_verified": true, "groups": ["pay-leads"] },
        "ben": { "name": "Ben", "email": "ben@example.com", "groups": ["guests"] },
        "eve": { "name": "Eve", "email": "eve@example.com", "email_verified": false },
    })
}

/// A broker and its provider.
async fn start(provider: &Value, more: &Value) -> (PeopleSite, Provider) {
    let (folder, http) = (TestFolder::new(), free_address());
    write_people(&folder, &people());
    let provider = Provider::start(&folder, &format!("http://{http}"), provider).await;
    let site = PeopleSite::start(folder, http, &provider.issuer, more).await;
    (site, provider)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_signs_in_by_a_link_and_out_for_good() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let mut browser = Browser::default();
    let nobody = site.me(&mut browser).await;
    assert_eq!((nobody.status, kind(&nobody).as_str()), (401, "unauthenticated"));

    let last = site.sign_in(&mut browser, "ann").await;
    let set = last.sets(COOKIE).unwrap();
    for part in ["; Path=/;", "; HttpOnly", "; SameSite=Lax", "; Max-Age=72000;"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    let secret = browser.cookie(COOKIE).unwrap().to_owned();
    let me = site.me(&mut browser).await.json();
    assert_eq!(
        [&me["name"], &me["display_name"], &me["kind"], &me["role"]],
        ["ann@example.com", "Ann", "person", "viewer"]
    );
    assert_eq!(me["groups"], json!(["pay-leads"]));
    let team = json!({ "team": "pay", "display_name": "Payments", "standing": "owner" });
    assert_eq!(me["teams"], json!([team]));
    assert_eq!((&me["may"]["decide_for"], &me["may"]["reroute"]), (&json!(["pay"]), &json!(false)));
    assert_eq!(me["session"]["ends_soon"], false);
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    let lasts = time(&me["session"]["ends_at"]).duration_since(time(&me["session"]["began_at"]));
    assert_eq!(lasts.as_hours(), 20);

    // The session is kept by its hash, and by no text from which it could be shown.
    let filter = CredentialFilter { limit: 10, ..CredentialFilter::default() };
    let kept = site.handle.store.credentials(&filter).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(!format!("{kept:?}").contains(&secret));

    // A page of another origin ends no session, and neither does a form.
    let out = format!("{}/auth/sign-out", site.url);
    let foreign = [("origin", "https://evil.test"), ("x-zonefold-request", "1")];
    let form = [("origin", site.url.as_str())];
    for headers in [&foreign[..], &form[..]] {
        let refused = browser.ask(Method::POST, &out, headers, "").await;
        assert_eq!(refused.status, 403, "{}", refused.body);
    }
    let mut stolen = browser.clone();
    let ended = site.by_page(&mut browser, Method::POST, "/auth/sign-out", &Value::Null).await;
    assert_eq!((ended.status, &ended.json()["ended"]), (200, &json!(true)));
    assert_eq!(browser.cookie(COOKIE), None);
    let again = site.me(&mut stolen).await;
    assert_eq!((again.status, kind(&again).as_str()), (401, "revoked"), "on the server, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_ends_once_and_in_the_browser_that_began_it() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let mut browser = Browser::default();
    let link = format!("{}/auth/sign-in?return_to=/zones", site.url);
    let callback = format!("{}/auth/callback", site.url);
    let stop = |next: &str| next.starts_with(&callback);
    let last = browser.sign_in(&link, "ann", stop).await;
    let back = last.location().unwrap();

    let elsewhere = Browser::default().ask(Method::GET, &back, &[], "").await;
    assert_eq!(elsewhere.status, 400);
    assert!(elsewhere.body.contains("was not begun in this browser"), "{}", elsewhere.body);
    assert!(elsewhere.headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let state = back.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let other_state =
        browser.clone().ask(Method::GET, &back.replace(state, "other"), &[], "").await;
    assert_eq!(other_state.status, 400);
    let other_issuer =
        format!("{}&iss=https%3A%2F%2Fevil.test", back.split("&iss=").next().unwrap());
    let other_issuer = browser.clone().ask(Method::GET, &other_issuer, &[], "").await;
    assert_eq!(other_issuer.status, 400);
    assert!(other_issuer.body.contains("another identity provider"), "{}", other_issuer.body);

    // A browser that keeps what it should forget comes with the same code again.
    let mut keeps_all = browser.clone();
    let ended = browser.ask(Method::GET, &back, &[], "").await;
    assert_eq!((ended.status, ended.location()), (303, Some(format!("{}/zones", site.url))));
    let again = browser.ask(Method::GET, &back, &[], "").await;
    assert_eq!((again.status, again.sets(COOKIE)), (400, None));
    let replayed = keeps_all.ask(Method::GET, &back, &[], "").await;
    assert_eq!((replayed.status, replayed.sets(COOKIE)), (400, None));
    assert!(replayed.body.contains("good once"), "{}", replayed.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_to_paths_of_the_broker_alone() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    for to in ["https://evil.test/", "//evil.test", "/%5Cevil.test", "zones", "/a%0d%0ab"] {
        let link = format!("{}/auth/sign-in?return_to={to}", site.url);
        let refused = Browser::default().ask(Method::GET, &link, &[], "").await;
        assert_eq!((refused.status, refused.location()), (400, None), "{to}");
    }
    for to in [
        "https://evil.test:1/",
        "http://evil.test:1/",
        "http://127.0.0.1/",
        "http://a@127.0.0.1:1/",
    ] {
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let link =
            format!("{}/auth/sign-in?redirect_uri={to}&code_challenge={challenge}", site.url);
        let refused = Browser::default().ask(Method::GET, &link, &[], "").await;
        assert_eq!((refused.status, refused.location()), (400, None), "{to}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_changes_something_with_a_cookie_comes_from_a_page_of_the_broker() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let mut browser = site.signed_in("ann").await;
    let wanted = json!({ "name": "laptop" });
    let tokens = format!("{}/api/v1/tokens", site.url);
    let (own, json) = (("origin", site.url.as_str()), ("content-type", "application/json"));
    let header = ("x-zonefold-request", "1");
    for headers in [
        &[json][..],
        &[own, json],
        &[header, json],
        &[("origin", "https://evil.test"), header, json],
        &[("origin", "null"), header, json],
        &[own, header, json, ("sec-fetch-site", "cross-site")],
        &[own, header, json, ("sec-fetch-site", "same-site")],
    ] {
        let refused = browser.ask(Method::POST, &tokens, headers, &wanted.to_string()).await;
        assert_eq!((refused.status, kind(&refused).as_str()), (403, "cross-site"), "{headers:?}");
    }
    let made = site.by_page(&mut browser, Method::POST, "/api/v1/tokens", &wanted).await;
    assert_eq!(made.status, 201, "{}", made.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_those_of_the_last_sign_in_for_tokens_too() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let mut browser = site.signed_in("ann").await;
    let wanted = json!({ "name": "laptop", "teams": ["pay"], "team_role": "owner" });
    let made = site.by_page(&mut browser, Method::POST, "/api/v1/tokens", &wanted).await.json();
    let token = made["secret"].as_str().unwrap();
    let teams = async |token: &str| {
        site.with_token(Method::GET, "/api/v1/me", token, &Value::Null).await.json()["teams"]
            .clone()
    };
    assert_eq!(teams(token).await[0]["standing"], "owner");
    let mut moved = people();
    moved["ann"]["groups"] = json!(["pay", "shop-leads"]);
    write_people(&site.folder, &moved);
    assert_eq!(site.me(&mut browser).await.json()["teams"][0]["standing"], "owner", "still");
    let mut anew = site.signed_in("ann").await;
    let me = site.me(&mut anew).await.json();
    assert_eq!(me["groups"], json!(["pay", "shop-leads"]));
    let token_teams = teams(token).await;
    assert_eq!(token_teams.as_array().unwrap().len(), 1, "a token is for the teams that it names");
    assert_eq!(token_teams[0]["standing"], "member");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_provider_is_away_sessions_go_on_and_its_new_keys_are_read_when_it_is_back() {
    let (site, mut provider) = start(&json!({}), &json!({})).await;
    let mut browser = site.signed_in("ann").await;
    provider.go_away().await;
    assert_eq!(site.me(&mut browser).await.status, 200);
    let made = json!({ "name": "laptop" });
    assert_eq!(site.by_page(&mut browser, Method::POST, "/api/v1/tokens", &made).await.status, 201);
    provider.come_back().await;
    let mut anew = site.signed_in("ann").await;
    assert_eq!(site.me(&mut anew).await.status, 200, "by a key that is new");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_was_never_there_lets_nobody_in_and_says_so() {
    let site = PeopleSite::without_provider(&json!({})).await;
    let link = format!("{}/auth/sign-in", site.url);
    let away = Browser::default().ask(Method::GET, &link, &[], "").await;
    assert_eq!(away.status, 503);
    assert!(away.body.contains("try again") && !away.body.contains("127.0.0.1:9"), "{}", away.body);
    site.reconfigure(&json!({ "oidc": null })).await;
    let off = Browser::default().ask(Method::GET, &link, &[], "").await;
    assert_eq!(off.status, 404);
    assert!(off.body.contains("oidc and public_url"), "{}", off.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_of_a_provider_to_know_its_client_and_to_say_who_it_is_works() {
    for (provider, more) in [
        (json!({ "claims_in_id_token": true }), json!({})),
        (
            json!({ "auth_method": "client_secret_post" }),
            json!({ "oidc": { "client_authentication": "client_secret_post" } }),
        ),
        (json!({ "algorithm": "ES256" }), json!({})),
        (json!({ "client_secret": null }), json!({ "oidc": { "client_secret_file": null } })),
    ] {
        let (site, _provider) = start(&provider, &more).await;
        let mut browser = site.signed_in("ann").await;
        let me = site.me(&mut browser).await.json();
        assert_eq!(
            (&me["name"], &me["groups"]),
            (&json!("ann@example.com"), &json!(["pay-leads"])),
            "{provider}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whom_the_provider_does_not_know_is_told_to_an_admin() {
    let (site, _provider) = start(&json!({ "client_secret": "another secret" }), &json!({})).await;
    let link = format!("{}/auth/sign-in", site.url);
    let end = format!("{}/", site.url);
    let refused = Browser::default().sign_in(&link, "ann", |next| next == end).await;
    assert_eq!((refused.status, refused.sets(COOKIE)), (500, None), "{}", refused.body);
    assert!(refused.body.contains("oidc.client_id"), "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_see_some_environments_sees_those_and_an_address_that_nobody_verified_is_no_name() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let mut ben = site.signed_in("ben").await;
    let me = site.me(&mut ben).await.json();
    assert_eq!((&me["role"], &me["environments"]), (&json!("viewer"), &json!(["dev"])));
    let url = format!("{}/api/v1/clusters", site.url);
    let clusters = ben.ask(Method::GET, &url, &[], "").await.json();
    let names: Vec<&Value> =
        clusters["items"].as_array().unwrap().iter().map(|cluster| &cluster["name"]).collect();
    assert_eq!(names, ["dev-east"]);

    let link = format!("{}/auth/sign-in", site.url);
    let end = format!("{}/", site.url);
    let refused = Browser::default().sign_in(&link, "eve", |next| next == end).await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("has not verified your mail address"), "{}", refused.body);

    site.reconfigure(&json!({ "api": { "people": { "viewers": [], "others": "nothing" } } })).await;
    let nothing = site.me(&mut ben).await;
    assert_eq!((nothing.status, kind(&nothing).as_str()), (403, "no-role"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_warns_before_its_end_and_is_over_after_it() {
    let (site, _provider) = start(&json!({}), &json!({})).await;
    let browser = site.signed_in("ann").await;
    let secret = browser.cookie(COOKIE).unwrap().to_owned();
    let store = &site.handle.store;
    let hash = zonefold::api::secret::secret_hash(&secret);
    let session = store.credential_by_hash(&hash).await.unwrap().unwrap();
    // Others like it that end sooner.
    let ending = async |name: &str, after: i64| {
        let now: Timestamp = site.handle.clock.now();
        let other = zonefold::core::people::credential::Credential {
            id: uuid::Uuid::new_v4(),
            ends_at: now + Millis::from_secs(after),
            ..session.clone()
        };
        let secret = format!("zonefold_{name}");
        let hash = zonefold::api::secret::secret_hash(&secret);
        assert!(store.add_credential(&hash, &other).await.unwrap());
        secret
    };
    let me = async |secret: &str| {
        let cookie = format!("{COOKIE}={secret}");
        let url = format!("{}/api/v1/me", site.url);
        Browser::default().ask(Method::GET, &url, &[("cookie", &cookie)], "").await
    };
    let soon = me(&ending("soon", 1_700).await).await.json();
    assert_eq!(soon["session"]["ends_soon"], true);
    let over = me(&ending("over", -1).await).await;
    assert_eq!((over.status, kind(&over).as_str()), (401, "expired"));
    assert!(over.body.contains("sign in again"), "{}", over.body);
    let unknown = me("zonefold_unknown").await;
    assert_eq!((unknown.status, kind(&unknown).as_str()), (401, "session-over"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_that_one_replica_began_is_ended_by_another_and_every_one_knows_the_session() {
    let store = crate::support::postgres::database().await;
    let (first, provider) = start(&json!({}), &json!({ "store": store })).await;
    let more = json!({ "store": store, "public_url": first.url });
    let second =
        PeopleSite::start(TestFolder::new(), free_address(), &provider.issuer, &more).await;
    let mut browser = Browser::default();
    let link = format!("{}/auth/sign-in?return_to=/end", first.url);
    let callback = format!("{}/auth/callback", first.url);
    let last = browser.sign_in(&link, "ann", |next| next.starts_with(&callback)).await;
    // What stands before the replicas sends each request to whichever it likes.
    let back = last.location().unwrap().replace(&first.url, &second.url);
    let ended = browser.ask(Method::GET, &back, &[], "").await;
    assert_eq!((ended.status, ended.location()), (303, Some(format!("{}/end", second.url))));
    for site in [&first, &second] {
        assert_eq!(site.me(&mut browser).await.json()["name"], "ann@example.com");
    }
    let mut kept = browser.clone();
    let headers = [("origin", first.url.as_str()), ("x-zonefold-request", "1")];
    let out = format!("{}/auth/sign-out", second.url);
    assert_eq!(browser.ask(Method::POST, &out, &headers, "").await.status, 200);
    crate::support::wait::eventually_equal("it is over at the other one, too", 401, async || {
        first.me(&mut kept.clone()).await.status
    })
    .await;
    assert_eq!(second.me(&mut kept).await.status, 401);
}

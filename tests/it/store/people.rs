//! Sessions of people, and tokens of people and of machines.

use uuid::Uuid;
use zonefold::core::governance::actor::Actor;
use zonefold::core::ids::RuleName;
use zonefold::core::people::credential::{Credential, CredentialKind, SignedInPerson, TokenScope};
use zonefold::core::people::teams::TeamStanding;
use zonefold::ports::{CredentialFilter, SecretHash};

use super::*;

on_both_databases!(
    a_credential_is_found_by_the_hash_of_its_secret_and_by_its_id,
    a_name_is_free_again_once_its_token_is_taken_back,
    credentials_are_listed_from_the_newest_on,
    who_signs_in_again_brings_their_groups_to_their_tokens,
    a_code_is_good_once,
    what_ended_long_ago_is_forgotten,
);

fn ann() -> SignedInPerson {
    SignedInPerson {
        user: "ann@example.com".to_owned(),
        issuer: "https://id.example.com".to_owned(),
        subject: "248289761001".to_owned(),
        display_name: Some("Ann Ö'Hara".to_owned()),
        groups: ["pay-leads".to_owned()].into(),
    }
}

fn hash(number: u8) -> SecretHash {
    [number; 32]
}

fn token(number: u128, kind: CredentialKind, name: &str) -> Credential {
    Credential {
        id: Uuid::from_u128(number),
        kind,
        name: name.to_owned(),
        person: (kind != CredentialKind::Machine).then(ann),
        scope: (kind != CredentialKind::Session).then(|| TokenScope {
            teams: [RuleName::parse("pay").unwrap()].into(),
            team_role: TeamStanding::Owner,
            zones: [DnsName::parse("example.com").unwrap()].into(),
            environments: [EnvironmentId::parse("dev").unwrap()].into(),
            ..TokenScope::default()
        }),
        made_by: Actor::User("ann@example.com".to_owned()),
        made_at: Timestamp(i64::try_from(number).unwrap()),
        ends_at: Timestamp(1_000),
        revoked_at: None,
        used_at: None,
    }
}

async fn a_credential_is_found_by_the_hash_of_its_secret_and_by_its_id(place: Place) {
    let store = place.open().await;
    let kinds = [CredentialKind::Session, CredentialKind::Person, CredentialKind::Machine];
    for (number, kind) in (1..).zip(kinds) {
        let made = token(u128::from(number), kind, "one");
        assert!(store.add_credential(&hash(number), &made).await.unwrap());
        let found = store.credential_by_hash(&hash(number)).await.unwrap();
        assert_eq!(found.as_ref(), Some(&made));
        assert_eq!(store.credential(made.id).await.unwrap(), Some(made));
    }
    assert_eq!(store.credential_by_hash(&hash(9)).await.unwrap(), None);
    let id = Uuid::from_u128(1);
    store.note_credential_use(id, Timestamp(20)).await.unwrap();
    store.note_credential_use(id, Timestamp(10)).await.unwrap();
    assert!(store.revoke_credential(id, Timestamp(30)).await.unwrap());
    assert!(!store.revoke_credential(id, Timestamp(40)).await.unwrap(), "it was before");
    assert!(!store.revoke_credential(Uuid::from_u128(9), Timestamp(40)).await.unwrap());
    let ended = store.credential(id).await.unwrap().unwrap();
    assert_eq!((ended.used_at, ended.revoked_at), (Some(Timestamp(20)), Some(Timestamp(30))));
}

async fn a_name_is_free_again_once_its_token_is_taken_back(place: Place) {
    let store = place.open().await;
    let add = |number: u8, kind| {
        let store = Arc::clone(&store);
        async move {
            store
                .add_credential(&hash(number), &token(u128::from(number), kind, "ci"))
                .await
                .unwrap()
        }
    };
    assert!(add(1, CredentialKind::Machine).await);
    assert!(!add(2, CredentialKind::Machine).await);
    assert!(add(3, CredentialKind::Person).await, "a person's is another one");
    assert!(add(4, CredentialKind::Session).await && add(5, CredentialKind::Session).await);
    assert!(store.revoke_credential(Uuid::from_u128(1), Timestamp(9)).await.unwrap());
    assert!(add(6, CredentialKind::Machine).await);
    assert_eq!(store.credential_by_hash(&hash(2)).await.unwrap(), None);
}

async fn credentials_are_listed_from_the_newest_on(place: Place) {
    let store = place.open().await;
    for number in 1..=5_u8 {
        let kind = if number % 2 == 0 { CredentialKind::Machine } else { CredentialKind::Person };
        let name = format!("token {number}");
        let made = token(u128::from(number), kind, &name);
        store.add_credential(&hash(number), &made).await.unwrap();
    }
    let numbers = async |filter: CredentialFilter| {
        let found = store.credentials(&filter).await.unwrap();
        found.iter().map(|one| one.id.as_u128()).collect::<Vec<_>>()
    };
    let all = || CredentialFilter { limit: 10, ..CredentialFilter::default() };
    assert_eq!(numbers(all()).await, [5, 4, 3, 2, 1]);
    let first = CredentialFilter { limit: 2, ..all() };
    assert_eq!(numbers(first).await, [5, 4]);
    let after = CredentialFilter { before: Some((Timestamp(4), Uuid::from_u128(4))), ..all() };
    assert_eq!(numbers(after).await, [3, 2, 1]);
    let machines = CredentialFilter { kind: Some(CredentialKind::Machine), ..all() };
    assert_eq!(numbers(machines).await, [4, 2]);
    let of_ann = CredentialFilter { holder: Some(ann().user), ..all() };
    assert_eq!(numbers(of_ann).await, [5, 3, 1]);
}

async fn who_signs_in_again_brings_their_groups_to_their_tokens(place: Place) {
    let store = place.open().await;
    let kinds = [CredentialKind::Session, CredentialKind::Person, CredentialKind::Machine];
    for (number, kind) in (1..).zip(kinds) {
        let made = token(u128::from(number), kind, "one");
        store.add_credential(&hash(number), &made).await.unwrap();
    }
    let groups = async |number: u8| {
        let found = store.credential_by_hash(&hash(number)).await.unwrap().unwrap();
        found.person.map(|person| person.groups.into_iter().collect::<Vec<_>>())
    };
    let another = SignedInPerson { subject: "another".to_owned(), groups: [].into(), ..ann() };
    store.refresh_person(&another).await.unwrap();
    assert_eq!(groups(2).await, Some(vec!["pay-leads".to_owned()]), "it is not theirs");
    let moved = SignedInPerson { groups: ["shop".to_owned()].into(), ..ann() };
    store.refresh_person(&moved).await.unwrap();
    assert_eq!(groups(2).await, Some(vec!["shop".to_owned()]));
    assert_eq!(groups(1).await, Some(vec!["pay-leads".to_owned()]), "a session ends by itself");
    assert_eq!(groups(3).await, None);
}

async fn a_code_is_good_once(place: Place) {
    let store = place.open().await;
    store.add_sign_in_code(&hash(1), Timestamp(60), "{\"it\":\"is\"}").await.unwrap();
    let takers = (0..8).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.take_sign_in_code(&hash(1)).await.unwrap() })
    });
    let mut taken = vec![];
    for taker in takers.collect::<Vec<_>>() {
        taken.extend(taker.await.unwrap());
    }
    assert_eq!(taken, [(Timestamp(60), "{\"it\":\"is\"}".to_owned())]);
}

async fn what_ended_long_ago_is_forgotten(place: Place) {
    let store = place.open().await;
    for (number, ends_at) in [(1_u8, 100), (2, 200), (3, 900)] {
        let name = format!("token {number}");
        let made = Credential {
            ends_at: Timestamp(ends_at),
            ..token(u128::from(number), CredentialKind::Machine, &name)
        };
        store.add_credential(&hash(number), &made).await.unwrap();
    }
    store.revoke_credential(Uuid::from_u128(3), Timestamp(50)).await.unwrap();
    store.add_sign_in_code(&hash(1), Timestamp(100), "{}").await.unwrap();
    assert_eq!(store.prune_credentials(Timestamp(150)).await.unwrap(), 2);
    assert_eq!(store.credential(Uuid::from_u128(3)).await.unwrap(), None);
    assert!(store.credential(Uuid::from_u128(2)).await.unwrap().is_some());
    assert_eq!(store.take_sign_in_code(&hash(1)).await.unwrap(), None);
}

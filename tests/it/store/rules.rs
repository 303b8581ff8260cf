//! The sets of rules that counted.

use zonefold::core::governance::document::StoredRule;
use zonefold::core::governance::ruleset::RulesDigest;
use zonefold::ports::{News, RuleSetRow};

use super::*;

on_both_databases!(
    sets_have_numbers_in_a_row_and_the_highest_counts,
    of_two_who_accept_at_once_one_is_next,
);

fn set(number: u64, files: u8) -> RuleSetRow {
    let document = serde_json::json!({ "kind": "Team", "metadata": { "name": "ö" } });
    RuleSetRow {
        number,
        digest: RulesDigest([number as u8; 32]),
        files: RulesDigest([files; 32]),
        rules: vec![StoredRule { file: Some("rules/a.yaml".to_owned()), document }],
        at: Timestamp(7),
        by: "ann".to_owned(),
        reason: (number > 1).then(|| "it's time".to_owned()),
    }
}

async fn sets_have_numbers_in_a_row_and_the_highest_counts(place: Place) {
    let store = place.open().await;
    assert_eq!(store.latest_rules().await.unwrap(), None);
    assert!(!store.accept_rules(&set(2, 1), &[]).await.unwrap(), "there is no first one");
    assert!(store.accept_rules(&set(1, 1), &[]).await.unwrap());
    assert!(store.accept_rules(&set(2, 2), &[]).await.unwrap());
    assert!(!store.accept_rules(&set(2, 3), &[]).await.unwrap(), "it is taken");
    assert_eq!(store.latest_rules().await.unwrap(), Some(set(2, 2)));
    assert_eq!(store.rules_numbered(1).await.unwrap(), Some(set(1, 1)));
    assert_eq!(store.rules_numbered(9).await.unwrap(), None);
    let were = [1, 2, 3].map(|files| RulesDigest([files; 32]));
    let mut accepted = vec![];
    for files in were {
        accepted.push(store.files_were_accepted(files).await.unwrap());
    }
    assert_eq!(accepted, [true, true, false]);
}

async fn of_two_who_accept_at_once_one_is_next(place: Place) {
    let store = place.open().await;
    let tries = (0..8_u8).map(|files| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.accept_rules(&set(1, files), &[]).await.unwrap() })
    });
    let mut accepted = 0;
    for accepting in tries.collect::<Vec<_>>() {
        accepted += usize::from(accepting.await.unwrap());
    }
    assert_eq!(accepted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_replicas_hear_of_a_set() {
    let place = Place::postgres().await;
    let (teller, reader) =
        (place.open().await.of_replica(replica(1)), place.open().await.of_replica(replica(2)));
    teller.accept_rules(&set(1, 1), &[]).await.unwrap();
    let heard = reader.feed(0, 100).await.unwrap();
    assert_eq!(heard.iter().map(|entry| entry.news.clone()).collect::<Vec<_>>(), [News::Rules(1)]);
}

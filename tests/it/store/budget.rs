//! How far an account's tokens may have been spent.

use zonefold::core::time::Timestamp;

use super::*;

on_both_databases!(the_horizon_is_kept_for_each_account, a_store_answers);

async fn the_horizon_is_kept_for_each_account(place: Place) {
    let store = place.open().await;
    assert_eq!(store.spend_horizon(&account()).await.unwrap(), None);
    for at in [Timestamp(5), Timestamp(9)] {
        store.set_spend_horizon(&account(), at).await.unwrap();
        assert_eq!(store.spend_horizon(&account()).await.unwrap(), Some(at));
    }
    assert_eq!(
        store.spend_horizon(&AccountId::parse("222222222222").unwrap()).await.unwrap(),
        None
    );
}

async fn a_store_answers(place: Place) {
    place.open().await.ping().await.unwrap();
}

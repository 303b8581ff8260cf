//! Queries and paths of the REST API.

use axum::extract::FromRequestParts;
use futures::FutureExt as _;
use http::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zonefold::api::page::{Cursor, Limit};
use zonefold::api::request::{NoParams, Params, identifier};
use zonefold::api::values::Time;
use zonefold::api::{accounts, changes, clusters, endpoints, records, zones};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RecordKey;
use zonefold::core::ids::{AccountId, ClusterId, ZoneId};

/// The first byte chooses the resource; the bytes after it are its query, and its last part of the path.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 8 {
        0 => check_cursor(query::<endpoints::ListParams>(text).and_then(|params| params.cursor)),
        1 => check_cursor(query::<records::ListParams>(text).and_then(|params| params.cursor)),
        2 => check_cursor(query::<changes::ListParams>(text).and_then(|params| params.cursor)),
        3 => check_cursor(query::<zones::ListParams>(text).and_then(|params| params.cursor)),
        4 => check_cursor(query::<clusters::ListParams>(text).and_then(|params| params.cursor)),
        5 => check_cursor(query::<accounts::ListParams>(text).and_then(|params| params.cursor)),
        6 => drop(query::<NoParams>(text)),
        _ => check_texts(text),
    }
}

/// The parameters of a query; an error is one for people.
fn query<T: DeserializeOwned>(text: &str) -> Option<T> {
    let request = Request::get(format!("/api/v1/x?{text}")).body(()).ok()?;
    let (mut parts, ()) = request.into_parts();
    let read = Params::<T>::from_request_parts(&mut parts, &())
        .now_or_never()
        .expect("a query is there as a whole");
    match read {
        Ok(Params(params)) => Some(params),
        Err(error) => {
            assert!(error.to_string().starts_with("the query cannot be read: "), "{error}");
            None
        }
    }
}

/// A cursor is given back as it was taken.
fn check_cursor<P: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(
    cursor: Option<Cursor<P>>,
) {
    let Some(cursor) = cursor else { return };
    let text = cursor.to_string();
    assert!(text.bytes().all(|octet| octet.is_ascii_hexdigit()));
    assert_eq!(serde_json::from_value::<Cursor<P>>(text.into()).unwrap(), cursor);
}

fn check_texts(text: &str) {
    if let Ok(name) = identifier::<DnsName>(text) {
        assert_eq!(identifier::<DnsName>(&name.to_string()).unwrap(), name);
    }
    for shown in [
        identifier::<ClusterId>(text).map(|id| id.to_string()),
        identifier::<ZoneId>(text).map(|id| id.to_string()),
    ] {
        match shown {
            Ok(shown) => assert_eq!(shown, text),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    let value = || serde_json::Value::from(text);
    if let Ok(limit) = serde_json::from_value::<Limit>(value()) {
        assert!((1..=Limit::MAX).contains(&limit.get()));
    }
    if let Ok(time) = serde_json::from_value::<Time>(value()) {
        assert_eq!(
            serde_json::from_value::<Time>(serde_json::to_value(time).unwrap()).unwrap(),
            time
        );
    }
    check_cursor(serde_json::from_value::<Cursor<RecordKey>>(value()).ok());
    check_cursor(serde_json::from_value::<Cursor<AccountId>>(value()).ok());
}

//! Requests to the emulated Route 53 and STS: bodies, targets and headers.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use zonefold::emulator::offline::{
    Target, read_changes, read_claim, read_other_bodies, read_target, write_changes,
};

/// The first byte says what the bytes after it are.
pub fn run(data: &[u8]) {
    let Some((choice, rest)) = super::split_choice(data) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    match choice % 4 {
        0 | 1 => check_body(text),
        2 => check_target(choice, text),
        _ => check_headers(text),
    }
}

/// What was read of a batch is read of it again after it was written.
fn check_body(body: &str) {
    let _read = read_other_bodies(body);
    match read_changes(body) {
        Ok(changes) => {
            assert!(!changes.is_empty() && changes.len() <= body.len());
            assert_eq!(read_changes(&write_changes(&changes)).as_ref(), Ok(&changes));
        }
        Err(error) => assert!(error.status == 400 && !error.message.is_empty()),
    }
}

fn check_target(choice: usize, target: &str) {
    let Ok(uri) = target.parse::<Uri>() else { return };
    let method = [Method::GET, Method::POST, Method::DELETE][choice / 4 % 3].clone();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    if let Some(Target { zone, parameters, .. }) = read_target(&method, target) {
        assert!(target.starts_with("/2013-04-01/"));
        assert!(zone.is_none_or(|zone| zone.len() <= target.len() * 3));
        assert!(parameters.len() <= target.len());
    }
}

/// The first line is the authorization, the second the date, the third the token.
fn check_headers(text: &str) {
    let mut headers = HeaderMap::new();
    let names = [
        AUTHORIZATION,
        HeaderName::from_static("x-amz-date"),
        HeaderName::from_static("x-amz-security-token"),
    ];
    for (name, line) in names.into_iter().zip(text.split('\n')) {
        if let Ok(value) = HeaderValue::from_str(line) {
            headers.insert(name, value);
        }
    }
    match read_claim(&headers) {
        Ok(key) => assert!(text.contains(&key)),
        Err(error) => assert!(matches!(error.status, 400 | 403)),
    }
}

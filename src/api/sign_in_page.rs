//! The page that says why nobody is signed in. Browsers come here by themselves, so it is for people.

use axum::response::{Html, IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Nothing runs, nothing is loaded, and no other page shows it in a frame.
const POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) fn sign_in_page(status: StatusCode, text: &str, return_to: &str) -> Response {
    let again = match status {
        StatusCode::NOT_FOUND => String::new(),
        _ => {
            let to =
                escaped(&return_to.replace('%', "%25").replace('&', "%26").replace('#', "%23"));
            format!("<p><a href=\"/auth/sign-in?return_to={to}\">Sign in again</a></p>")
        }
    };
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"color-scheme\" content=\"light dark\">\
         <title>Zonefold: not signed in</title></head><body><h1>Not signed in</h1><p>{}</p>{again}</body></html>",
        escaped(text)
    );
    let mut response = (status, Html(page)).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        let _none_before: Option<HeaderValue> =
            headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A text that is nothing but text (HTML Living Standard §13.1.2.3, §13.1.2.4).
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
        escaped
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn whatever_the_page_says_is_text() {
        let evil = "<script>alert(1)</script> \"x\" 'y' &amp;";
        let response = sign_in_page(StatusCode::BAD_REQUEST, evil, "/zones?a=1&b=\"><script>");
        assert!(
            response.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with("text/html")
        );
        assert!(
            response.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let page = String::from_utf8(body.to_vec()).unwrap();
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;alert(1)"), "{page}");
        assert!(page.contains("return_to=/zones?a=1%26b=&quot;&gt;&lt;script&gt;"), "{page}");
    }
}

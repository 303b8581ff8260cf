//! Reading requests: parameters and identifiers, strictly.

use std::fmt::Display;
use std::str::FromStr;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::problem::ApiError;

/// The parameters of a query. Types deny unknown fields, so a misspelt filter is an error and not a longer list.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let text =
                    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(ApiError::BadParameter(format!("the query cannot be read: {text}")))
            }
        }
    }
}

/// A JSON body. Types deny unknown fields, so a misspelt one is an error and not left out in silence.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(ApiError::BadBody(format!(
                "the body cannot be read: {}",
                rejection.body_text()
            ))),
        }
    }
}

/// The parameters of a resource that takes none.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

/// Reads an identifier of the path.
///
/// # Errors
/// It is not one; the text says why.
pub fn identifier<T>(text: &str) -> Result<T, ApiError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|error: T::Err| ApiError::BadPath(error.to_string()))
}

/// Reads the UUID by which a resource of a kind is known.
///
/// # Errors
/// It is none.
pub fn uuid_of(kind: &str, id: &str) -> Result<Uuid, ApiError> {
    id.parse().map_err(|_| ApiError::BadPath(format!("{id:?} is no id of a {kind}: it is a UUID")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::page::Limit;
    use crate::core::ids::ClusterId;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Some {
        cluster: Option<ClusterId>,
        limit: Option<Limit>,
    }

    async fn read(query: &str) -> Result<Some, String> {
        let (mut parts, ()) =
            http::Request::get(format!("/x{query}")).body(()).unwrap().into_parts();
        Params::from_request_parts(&mut parts, &())
            .await
            .map(|Params(some)| some)
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn an_error_says_which_parameter_and_why() {
        let good = read("?cluster=dev-east&limit=5").await.unwrap();
        assert_eq!((good.cluster.unwrap().as_str(), good.limit.unwrap().get()), ("dev-east", 5));
        for (query, parts) in [
            ("?limit=5000", ["limit", "1 to 1000"]),
            ("?cluster=Dev%20East", ["cluster", "1 to 63 characters"]),
            ("?cluster=", ["cluster", "1 to 63 characters"]),
            ("?colour=red", ["colour", "expected"]),
            ("?limit=1&limit=2", ["limit", "duplicate"]),
        ] {
            let error = read(query).await.unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{query}: {error}");
        }
    }
}

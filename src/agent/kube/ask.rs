//! Requests to the API server, and what their answers say of the objects.

use std::time::Duration;

use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::document::Document;
use super::resources::{Origin, Resource};

/// How long a request other than a watch may take.
const ANSWER: Duration = Duration::from_secs(60);

/// Whether the API server serves a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In this version.
    Served(&'static str),
    /// It is being removed, with all its objects.
    Terminating,
    /// It is not there.
    Missing,
}

/// Why something was not observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The version to start from has expired (410).
    Expired,
    /// The API server has no such thing (404).
    NotFound {
        /// For people.
        message: String,
        /// The object that it looked for and does not have; empty where it does not say that, as when nothing is served at the
        /// address.
        object: String,
    },
    /// Anything else, for people.
    Other(String),
}

#[derive(Deserialize)]
struct Served {
    #[serde(default)]
    resources: Vec<ServedResource>,
}

#[derive(Deserialize)]
struct ServedResource {
    name: String,
    #[serde(default)]
    verbs: Vec<String>,
}

/// Whether the API server serves a kind now. Every service account may ask that. A kind that is being removed can still be
/// read, and no object of it can be created.
pub async fn presence(client: &Client, resource: &Resource) -> Result<Presence, String> {
    if resource.origin == Origin::BuiltIn {
        return Ok(Presence::Served(resource.preferred_version()));
    }
    for version in resource.versions {
        let request = http::Request::get(resource.group_path(version))
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let served: Served = match answer(client.request(request)).await {
            Ok(served) => served,
            Err(Fault::NotFound { .. }) => continue,
            Err(fault) => return Err(fault.in_words()),
        };
        if let Some(found) = served.resources.iter().find(|served| served.name == resource.plural) {
            let can_create = found.verbs.iter().any(|verb| verb == "create");
            return Ok(if can_create { Presence::Served(version) } else { Presence::Terminating });
        }
    }
    Ok(Presence::Missing)
}

/// Reads one object; `None` if the API server says that it has no object of this name. The kind has to be served; a custom one
/// also a while afterwards, since objects that go with their kind look the same.
pub async fn look_up(
    client: &Client,
    resource: &Resource,
    version: &str,
    namespace: &str,
    name: &str,
) -> Result<Option<Document>, String> {
    // They come from the broker, which took them from whatever this agent once read.
    if let Some(odd) = [namespace, name].into_iter().find(|part| !is_object_name(part)) {
        return Err(format!("{odd:?} is no name that an object can have"));
    }
    let path = format!("{}/{name}", resource.path(version, Some(namespace)));
    let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
    match answer(client.request(request)).await {
        Ok(document) => Ok(Some(document)),
        Err(Fault::NotFound { object, .. }) if object == name => Ok(None),
        Err(fault) => Err(fault.in_words()),
    }
}

/// DNS-1123 subdomains and a little more; nothing that would mean something else in a path.
fn is_object_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(is_plain)
}

/// Asks the API server for one thing.
///
/// # Errors
/// It refuses, cannot be reached, or does not answer; for people.
pub(super) async fn ask<T: DeserializeOwned>(
    client: &Client,
    request: http::Request<Vec<u8>>,
) -> Result<T, String> {
    answer(client.request(request)).await.map_err(Fault::in_words)
}

/// Waits for an answer, and not for ever.
pub(super) async fn answer<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Fault> {
    match timeout(ANSWER, call).await {
        Ok(answer) => answer.map_err(|error| fault(&error)),
        Err(_) => {
            Err(Fault::Other(format!("the API server did not answer in {} s", ANSWER.as_secs())))
        }
    }
}

/// Why a request failed.
pub(super) fn fault(error: &kube::Error) -> Fault {
    match error {
        kube::Error::Api(status) => fault_of_status(status),
        other => {
            // The sources say what happened; the outer errors only where.
            let deepest =
                std::iter::successors(std::error::Error::source(other), |error| (*error).source())
                    .last();
            let reason = deepest.map_or_else(|| other.to_string(), ToString::to_string);
            Fault::Other(format!("the API server cannot be read: {reason}"))
        }
    }
}

impl Fault {
    /// For people.
    pub(super) fn in_words(self) -> String {
        match self {
            Self::Expired => "the API server answered 410".to_owned(),
            Self::NotFound { message, .. } => format!("the API server answered 404: {message}"),
            Self::Other(reason) => reason,
        }
    }
}

/// The fault that a refusal reports.
pub(super) fn fault_of_status(status: &kube::core::Status) -> Fault {
    let message: String = status.message.chars().take(300).collect();
    // Something in between may answer 404 as well, and knows nothing of objects.
    let object = status
        .details
        .as_ref()
        .filter(|_| status.reason == "NotFound")
        .map(|details| details.name.clone());
    match status.code {
        410 => Fault::Expired,
        404 => Fault::NotFound { message, object: object.unwrap_or_default() },
        code @ (401 | 403) => Fault::Other(format!(
            "the API server refuses it ({code}): {message}; `zonefold agent rbac` prints what the agent needs"
        )),
        code => Fault::Other(format!("the API server answered {code}: {message}")),
    }
}

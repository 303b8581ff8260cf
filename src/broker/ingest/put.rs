//! One put as it comes from an agent.

use crate::core::endpoint::packed::PackedEndpoint;
use crate::core::endpoint::verdict::{Reason, Verdict};
use crate::core::endpoint::{Endpoint, KeyHash, Version};
use crate::wire::v1;

/// Reads one put and computes its hashes anew, so that they match the stored content.
pub(super) fn read_put(
    put: v1::Put,
) -> Result<(KeyHash, Version, PackedEndpoint), Box<v1::EndpointStatus>> {
    let Some(wire) = put.endpoint else {
        return Err(malformed(None, put.version, "a put without an endpoint".to_owned()));
    };
    let key = wire.key.clone();
    let endpoint = Endpoint::try_from(wire)
        .map_err(|error| malformed(key.clone(), put.version.clone(), error.to_string()))?;
    let version = endpoint.version();
    if put.version[..] != version.0[..] {
        let text = format!(
            "the endpoint hashes to {version} and was sent as another version: agent and broker differ, update both"
        );
        return Err(malformed(key, put.version, text));
    }
    Ok((endpoint.key.hash(), version, PackedEndpoint::pack(&endpoint)))
}

/// A verdict on an endpoint that cannot be read.
pub(super) fn malformed(
    key: Option<v1::EndpointKey>,
    version: bytes::Bytes,
    message: String,
) -> Box<v1::EndpointStatus> {
    let verdict = Verdict::rejected(Reason::Malformed, message);
    Box::new(v1::EndpointStatus {
        key,
        version,
        verdict: v1::VerdictState::Rejected as i32,
        reason: verdict.reason.as_str().to_owned(),
        message: verdict.message,
        ..v1::EndpointStatus::default()
    })
}

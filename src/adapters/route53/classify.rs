//! Classifies an answer, or the lack of one, for the caller: pure functions from the outcome to a [`CallError`].

use aws_sdk_route53::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use super::aws_time::signed_off_by;
use crate::core::aws::access::RoleArn;
use crate::core::time::Millis;
use crate::ports::CallError;

/// An error answer of AWS, taken apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// The code, when the body had one.
    pub(super) code: Option<&'a str>,
    /// The message, when the body had one.
    pub(super) message: Option<&'a str>,
    /// AWS's request id.
    pub(super) request_id: Option<&'a str>,
    /// How far the time of the signature was from AWS's; `None` if AWS would have accepted it.
    pub(super) signed_off_by: Option<Millis>,
}

impl Refusal<'_> {
    fn text(&self) -> String {
        let mut text = match (self.code, self.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            (None, _) => format!("HTTP {} without an error code", self.status),
        };
        if let Some(id) = self.request_id {
            text.push_str(&format!(" (request {id})"));
        }
        text
    }

    /// A signature that was refused for its time; nothing was done. The next call is signed at AWS's time.
    fn signed_at_a_wrong_time(&self) -> Option<CallError> {
        let off_secs = self.signed_off_by?.0 / 1_000;
        matches!(
            self.code,
            Some(
                "AuthFailure"
                    | "InvalidSignatureException"
                    | "RequestExpired"
                    | "RequestInTheFuture"
                    | "RequestTimeTooSkewed"
                    | "SignatureDoesNotMatch"
            )
        )
        .then(|| CallError::NotSent {
            message: format!(
                "the clock of this machine differs from AWS's by {off_secs} s, so the call was refused ({}); the next one is signed at AWS's time",
                self.text()
            ),
        })
    }
}

/// Classifies an error answer of Route 53. Only codes known to mean "not applied" count as that.
pub(super) fn route53_refusal(refusal: &Refusal<'_>) -> CallError {
    let text = || refusal.text();
    if let Some(error) = refusal.signed_at_a_wrong_time() {
        return error;
    }
    match refusal.code {
        Some(
            "Throttling"
            | "ThrottlingException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException",
        ) => CallError::Throttled,
        Some("PriorRequestNotComplete") => CallError::Busy,
        _ if refusal.status >= 500 => CallError::Unknown { message: text() },
        Some("ExpiredToken" | "ExpiredTokenException") => CallError::Expired,
        Some(code) if is_denial(code) => CallError::Denied { message: text() },
        Some(code @ ("InvalidChangeBatch" | "InvalidInput" | "NoSuchHealthCheck")) => {
            CallError::Refused {
                code: code.to_owned(),
                message: refusal.message.unwrap_or_default().to_owned(),
                request_id: refusal.request_id.map(str::to_owned),
            }
        }
        Some("NoSuchHostedZone" | "NoSuchChange") => CallError::NotFound { message: text() },
        Some(code) if (400..500).contains(&refusal.status) => CallError::Unlisted {
            code: code.to_owned(),
            message: refusal.message.unwrap_or_default().to_owned(),
            request_id: refusal.request_id.map(str::to_owned),
        },
        _ => CallError::Unknown { message: text() },
    }
}

/// Codes with which AWS refuses a caller before it looks at the request.
fn is_denial(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "AuthFailure"
            | "IncompleteSignature"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    )
}

/// Classifies an error answer to AssumeRole. STS answers `AccessDenied` alike for a role that is missing, a trust policy
/// that does not name the caller, and a wrong external id.
pub(super) fn assume_role_refusal(role: &RoleArn, refusal: &Refusal<'_>) -> CallError {
    let text = refusal.text();
    if let Some(error) = refusal.signed_at_a_wrong_time() {
        return error;
    }
    match refusal.code {
        Some("Throttling" | "ThrottlingException" | "RequestLimitExceeded") => {
            CallError::NotSent { message: format!("STS throttles while {role} is assumed: {text}") }
        }
        _ if refusal.status >= 500 => {
            CallError::NotSent { message: format!("STS failed while {role} was assumed: {text}") }
        }
        // The credentials with which STS was called have expired: fresh ones will do.
        Some("ExpiredToken" | "ExpiredTokenException") => CallError::Expired,
        Some("RegionDisabledException") => CallError::Denied {
            message: format!(
                "{role} cannot be assumed: {text}; enable STS for the region in the account, or use another region"
            ),
        },
        Some("InvalidClientTokenId" | "SignatureDoesNotMatch" | "UnrecognizedClientException") => {
            CallError::Denied {
                message: format!(
                    "{role} cannot be assumed: {text}; the broker's own credentials are wrong, or its clock is"
                ),
            }
        }
        Some(_) => CallError::Denied {
            message: format!(
                "{role} cannot be assumed: {text}; check that the role exists, that its trust policy names the broker's \
                 identity, and that external_id is the one that the policy asks for"
            ),
        },
        None => CallError::NotSent {
            message: format!("the answer of STS for {role} cannot be read: {text}"),
        },
    }
}

/// Whether the request was under way, by what the HTTP client says.
fn dispatch_failure(error: &(dyn std::error::Error + 'static), message: String) -> CallError {
    if find::<hyper_util::client::legacy::Error>(error)
        .is_some_and(hyper_util::client::legacy::Error::is_connect)
    {
        CallError::NotSent { message: format!("no connection: {message}") }
    } else {
        CallError::Unknown { message }
    }
}

fn find<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    std::iter::successors(Some(error), |error| error.source())
        .find_map(|error| error.downcast_ref())
}

/// The causes of an error in one line. The SDK's own texts name hosts and codes, never credentials.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    for cause in std::iter::successors(Some(error), |error| error.source()) {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&said);
        }
    }
    text
}

/// Classifies a failed call of the SDK; `refused` reads an answer that has an error in it.
pub(super) fn sdk_error<E>(
    error: &SdkError<E, HttpResponse>,
    refused: impl FnOnce(&Refusal<'_>) -> CallError,
) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match error {
        SdkError::ConstructionFailure(_) => CallError::NotSent { message: causes(error) },
        SdkError::TimeoutError(_) => {
            CallError::Unknown { message: "the attempt timed out".to_owned() }
        }
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(connector) => dispatch_failure(connector, causes(connector)),
            None => CallError::Unknown { message: causes(error) },
        },
        SdkError::ServiceError(context) => refused(&Refusal {
            status: context.raw().status().as_u16(),
            code: context.err().code(),
            message: context.err().message(),
            request_id: request_id(context.raw()),
            signed_off_by: signed_off_by(context.raw()),
        }),
        SdkError::ResponseError(context) => {
            let status = context.raw().status().as_u16();
            CallError::Unknown {
                message: format!("the answer (HTTP {status}) cannot be read: {}", causes(error)),
            }
        }
        _ => CallError::Unknown { message: causes(error) },
    }
}

/// As [`sdk_error`], for AssumeRole: whatever the outcome, no call to Route 53 was made.
pub(super) fn assume_role_error<E>(role: &RoleArn, error: &SdkError<E, HttpResponse>) -> CallError
where
    E: std::error::Error + ProvideErrorMetadata + 'static,
{
    match sdk_error(error, |refusal| assume_role_refusal(role, refusal)) {
        CallError::Unknown { message } | CallError::Unlisted { message, .. } => {
            CallError::NotSent { message: format!("STS does not answer for {role}: {message}") }
        }
        other => other,
    }
}

/// The request id of an answer.
pub(super) fn request_id(response: &HttpResponse) -> Option<&str> {
    response
        .headers()
        .get("x-amzn-requestid")
        .or_else(|| response.headers().get("x-amz-request-id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURED: &str = include_str!("../../../tests/data/route53-errors.jsonl");

    fn refusal<'a>(status: u16, code: &'a str, message: &'a str) -> Refusal<'a> {
        Refusal {
            status,
            code: Some(code),
            message: Some(message),
            request_id: Some("r-1"),
            signed_off_by: None,
        }
    }

    /// The variant of each captured answer, by its code.
    fn expected(code: &str) -> Option<&'static str> {
        Some(match code {
            "Throttling" => "Throttled",
            "PriorRequestNotComplete" => "Busy",
            "ExpiredToken" => "Expired",
            "AccessDenied" | "InvalidClientTokenId" | "SignatureDoesNotMatch" => "Denied",
            "InvalidChangeBatch" | "InvalidInput" => "Refused",
            "NoSuchHostedZone" => "NotFound",
            _ => return None,
        })
    }

    fn variant(error: &CallError) -> &'static str {
        match error {
            CallError::Refused { .. } => "Refused",
            CallError::Throttled => "Throttled",
            CallError::Busy => "Busy",
            CallError::Expired => "Expired",
            CallError::Denied { .. } => "Denied",
            CallError::NotFound { .. } => "NotFound",
            CallError::NotSent { .. } => "NotSent",
            CallError::Unlisted { .. } => "Unlisted",
            CallError::Unknown { .. } => "Unknown",
        }
    }

    #[test]
    fn every_captured_answer_of_route_53_means_what_its_code_says() {
        let mut seen = std::collections::BTreeSet::new();
        for line in CAPTURED.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let (id, op) = (row["id"].as_str().unwrap(), row["op"].as_str().unwrap());
            let Some(code) = row["code"].as_str() else { continue };
            if op.starts_with("sts:") {
                continue;
            }
            let status = u16::try_from(row["http_status"].as_u64().unwrap()).unwrap();
            let message = row["message"].as_str().unwrap_or_default();
            let error = route53_refusal(&refusal(status, code, message));
            let Some(expected) = expected(code) else {
                let variants = if status < 500 { "Unlisted" } else { "Unknown" };
                assert_eq!(variant(&error), variants, "{id}");
                continue;
            };
            assert_eq!(variant(&error), expected, "{id}");
            seen.insert(expected);
            if let CallError::Refused { code: kept, message: whole, request_id } = error {
                assert_eq!(
                    (kept.as_str(), whole.as_str(), request_id.as_deref()),
                    (code, message, Some("r-1")),
                    "{id}"
                );
            }
        }
        assert_eq!(seen.len(), 6, "{seen:?}");
    }

    #[test]
    fn what_nobody_has_seen_before_is_of_unknown_outcome() {
        for (status, code) in [
            (500, Some("InternalFailure")),
            (503, Some("ServiceUnavailable")),
            (502, None),
            (400, None),
        ] {
            let error = route53_refusal(&Refusal {
                status,
                code,
                message: None,
                request_id: None,
                signed_off_by: None,
            });
            assert_eq!(variant(&error), "Unknown", "{status} {code:?}");
        }
        assert_eq!(variant(&route53_refusal(&refusal(400, "Novelty", "x"))), "Unlisted");
        assert_eq!(variant(&route53_refusal(&refusal(302, "Novelty", "x"))), "Unknown");
        // A gateway that answers 5xx with a body that looks like a refusal is not believed.
        assert_eq!(variant(&route53_refusal(&refusal(502, "InvalidInput", "x"))), "Unknown");
    }

    #[test]
    fn a_role_that_cannot_be_assumed_is_named_with_what_to_check() {
        let role = RoleArn::parse("arn:aws:iam::111111111111:role/zonefold").unwrap();
        for line in CAPTURED.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let (op, Some(code)) = (row["op"].as_str().unwrap(), row["code"].as_str()) else {
                continue;
            };
            if op.starts_with("sts:") {
                let error = assume_role_refusal(
                    &role,
                    &refusal(400, code, row["message"].as_str().unwrap()),
                );
                assert!(
                    matches!(&error, CallError::Denied { message } if message.contains(role.as_str())),
                    "{error}"
                );
            }
        }
        let denied = assume_role_refusal(
            &role,
            &refusal(403, "AccessDenied", "not authorized to perform: sts:AssumeRole"),
        );
        assert!(
            denied.to_string().contains("trust policy")
                && denied.to_string().contains("external_id"),
            "{denied}"
        );
        assert_eq!(
            variant(&assume_role_refusal(&role, &refusal(403, "RegionDisabledException", "x"))),
            "Denied"
        );
        assert_eq!(
            variant(&assume_role_refusal(&role, &refusal(400, "ExpiredTokenException", "x"))),
            "Expired"
        );
        assert_eq!(
            variant(&assume_role_refusal(&role, &refusal(400, "Throttling", "x"))),
            "NotSent"
        );
        assert_eq!(
            variant(&assume_role_refusal(&role, &refusal(503, "ServiceUnavailable", "x"))),
            "NotSent"
        );
    }
}

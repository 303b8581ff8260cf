//! A refusal as AWS words it.

/// The party at fault, in the words of the envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The caller.
    Sender,
    /// AWS.
    Receiver,
}

/// An error answer: the status, and what stands in the envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    pub status: u16,
    /// The code, such as `InvalidChangeBatch`.
    pub code: &'static str,
    /// The message, exactly.
    pub message: String,
    /// The party at fault.
    pub blame: Blame,
}

impl AwsError {
    /// A refusal of the caller's request.
    pub fn sender(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), blame: Blame::Sender }
    }

    /// 400 `InvalidInput`.
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::sender(400, "InvalidInput", message)
    }

    /// 400 `InvalidChangeBatch` with the messages in one pair of brackets.
    pub fn invalid_batch(messages: &[String]) -> Self {
        Self::sender(400, "InvalidChangeBatch", format!("[{}]", messages.join(", ")))
    }

    /// 400 `Throttling`, the only answer to a bucket that is empty.
    pub fn throttling() -> Self {
        Self::sender(400, "Throttling", "Rate exceeded")
    }

    /// 400 `PriorRequestNotComplete`.
    pub fn prior_request() -> Self {
        Self::sender(
            400,
            "PriorRequestNotComplete",
            "The request was rejected because Route 53 was still processing a prior request.",
        )
    }

    /// 404 `NoSuchHostedZone`.
    pub fn no_such_zone(id: &str) -> Self {
        Self::sender(404, "NoSuchHostedZone", format!("No hosted zone found with ID: {id}"))
    }

    /// 403 `ExpiredToken`.
    pub fn expired_token() -> Self {
        Self::sender(403, "ExpiredToken", "The security token included in the request is expired")
    }

    /// 403 `InvalidClientTokenId`.
    pub fn invalid_client_token() -> Self {
        Self::sender(
            403,
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    }

    /// A refusal by a code that no description of the API lists.
    pub fn unlisted() -> Self {
        Self::sender(400, "SimulatedUnlistedError", "The request cannot be carried out.")
    }

    /// A failure of AWS.
    pub fn server(status: u16) -> Self {
        let (code, message) = match status {
            503 => ("ServiceUnavailable", "Service is unavailable"),
            _ => ("InternalFailure", "We encountered an internal error. Please try again."),
        };
        Self { status, code, message: message.to_owned(), blame: Blame::Receiver }
    }
}

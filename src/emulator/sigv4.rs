//! Signature Version 4: reading what a request claims, and checking it by signing the request again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use http::HeaderMap;

use super::error::AwsError;
use crate::core::time::Timestamp;

/// AWS accepts a signature for five minutes before and after its time.
const SKEW_SECS: i64 = 300;

/// The content of the Authorization header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub access_key_id: String,
    pub region: String,
    pub service: String,
    pub signed_headers: Vec<String>,
    pub signature: String,
    pub signed_at: Timestamp,
    pub token: Option<String>,
}

/// The parts of a request that are signed.
pub(super) struct Signed<'a> {
    pub method: &'a str,
    /// Path and query, as received.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// Reads the claim of a request.
pub(super) fn claim(headers: &HeaderMap) -> Result<Claim, AwsError> {
    let incomplete = |what: &str| AwsError::sender(400, "IncompleteSignature", what.to_owned());
    let missing =
        || AwsError::sender(403, "MissingAuthenticationToken", "Missing Authentication Token");
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let authorization = text("authorization").ok_or_else(missing)?;
    let parts = authorization.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| {
        incomplete("Authorization header requires the algorithm AWS4-HMAC-SHA256.")
    })?;
    let part = |name: &str| {
        let found =
            parts.split(',').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| {
            incomplete(&format!("Authorization header requires '{name}' parameter."))
        })
    };
    let scope: Vec<&str> = part("Credential")?.split('/').collect();
    let [access_key_id, _date, region, service, "aws4_request"] = scope.as_slice() else {
        return Err(incomplete("Credential must have exactly 5 slash-delimited elements."));
    };
    let signed_at = text("x-amz-date").and_then(read_time).ok_or_else(|| {
        incomplete(
            "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
        )
    })?;
    Ok(Claim {
        access_key_id: (*access_key_id).to_owned(),
        region: (*region).to_owned(),
        service: (*service).to_owned(),
        signed_headers: part("SignedHeaders")?.split(';').map(str::to_owned).collect(),
        signature: part("Signature")?.to_owned(),
        signed_at,
        token: text("x-amz-security-token").map(str::to_owned),
    })
}

fn read_time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    Some(Timestamp(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
}

fn write_time(time: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(time.0) {
        Ok(time) => time.strftime("%Y%m%dT%H%M%SZ").to_string(),
        Err(_) => time.to_string(),
    }
}

/// Checks that the claim is about now.
pub(super) fn check_time(claim: &Claim, now: Timestamp) -> Result<(), AwsError> {
    let off_secs = (now - claim.signed_at).0.div_euclid(1_000);
    if off_secs.abs() <= SKEW_SECS {
        return Ok(());
    }
    let signed = write_time(claim.signed_at);
    let edge = |secs: i64| write_time(Timestamp(now.0 + secs * 1_000));
    let message = if off_secs > 0 {
        format!(
            "Signature expired: {signed} is now earlier than {} ({} - 5 min.)",
            edge(-SKEW_SECS),
            write_time(now)
        )
    } else {
        format!(
            "Signature not yet current: {signed} is still later than {} ({} + 5 min.)",
            edge(SKEW_SECS),
            write_time(now)
        )
    };
    Err(AwsError::sender(403, "SignatureDoesNotMatch", message))
}

/// Signs the request again and compares.
pub(super) fn check_signature(
    claim: &Claim,
    request: &Signed<'_>,
    secret: &str,
) -> Result<(), AwsError> {
    let mismatch = || {
        AwsError::sender(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key \
             and signing method. Consult the service documentation for details.",
        )
    };
    let signature = expected_signature(claim, request, secret).ok_or_else(mismatch)?;
    if signature == claim.signature { Ok(()) } else { Err(mismatch()) }
}

fn expected_signature(claim: &Claim, request: &Signed<'_>, secret: &str) -> Option<String> {
    let host = request.headers.get("host")?.to_str().ok()?;
    let identity =
        Credentials::new(&claim.access_key_id, secret, claim.token.clone(), None, "emulator")
            .into();
    let mut settings = SigningSettings::default();
    // The claim says which headers are signed; the signer excludes no others.
    settings.excluded_headers = None;
    let millis = u64::try_from(claim.signed_at.0).ok()?;
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(millis);
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&claim.region)
        .name(&claim.service)
        .time(time)
        .settings(settings)
        .build()
        .ok()?
        .into();
    // The signer adds these itself.
    let added = ["x-amz-date", "x-amz-security-token"];
    let mut headers = Vec::with_capacity(claim.signed_headers.len());
    for name in claim.signed_headers.iter().filter(|name| !added.contains(&name.as_str())) {
        for value in request.headers.get_all(name.as_str()) {
            headers.push((name.as_str(), value.to_str().ok()?));
        }
    }
    let uri = format!("http://{host}{}", request.target);
    let signable = SignableRequest::new(
        request.method,
        uri,
        headers.into_iter(),
        SignableBody::Bytes(request.body),
    )
    .ok()?;
    Some(sign(signable, &params).ok()?.signature().to_owned())
}

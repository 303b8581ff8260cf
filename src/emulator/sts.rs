//! STS: AssumeRole and GetCallerIdentity in the query protocol.

use super::action::Action;
use super::call::{Call, form};
use super::error::AwsError;
use super::identity::{AssumeRequest, Caller};
use super::operations::Answer;
use super::state::EmulatorState;
use crate::core::time::Timestamp;

const MIN_SESSION_SECS: u32 = 900;
const MAX_SESSION_SECS: u32 = 43_200;

/// The operation of a form.
pub(super) fn action_of(body: &str) -> Option<Action> {
    match form(body).into_iter().find(|(name, _)| name == "Action")?.1.as_str() {
        "AssumeRole" => Some(Action::AssumeRole),
        "GetCallerIdentity" => Some(Action::GetCallerIdentity),
        _ => None,
    }
}

/// Answers an STS call of an authenticated caller.
pub(super) fn answer(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
    now: Timestamp,
) -> Result<Answer, AwsError> {
    match call.action {
        Action::AssumeRole => assume_role(world, call, caller, now),
        _ => Ok(identity(caller)),
    }
}

fn identity(caller: &Caller) -> Answer {
    Answer::sts("GetCallerIdentity", |xml| {
        xml.text("UserId", &caller.user_id);
        xml.text("Account", caller.account.as_str());
        xml.text("Arn", &caller.arn);
    })
}

fn assume_role(
    world: &mut EmulatorState,
    call: &Call,
    caller: &Caller,
    now: Timestamp,
) -> Result<Answer, AwsError> {
    let request = read(call)?;
    // A session needs the permission of its role as well as the trust of the next one.
    world.identities.authorise(caller, Action::AssumeRole, None)?;
    let credentials = world.identities.assume(caller, &request, now, &mut world.ids)?;
    Ok(Answer::sts("AssumeRole", |xml| {
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &credentials.role_id);
            xml.text("Arn", &credentials.arn);
        });
        xml.element("Credentials", |xml| {
            xml.text("AccessKeyId", &credentials.access_key_id);
            xml.text("SecretAccessKey", credentials.secret.expose());
            xml.text("SessionToken", &credentials.token);
            xml.value("Expiration", credentials.expires_at);
        });
    }))
}

fn read(call: &Call) -> Result<AssumeRequest, AwsError> {
    let text = |name: &str| call.param(name).map(str::to_owned);
    let role_arn = text("RoleArn").unwrap_or_default();
    if !is_arn(&role_arn) {
        return Err(invalid(format!("{role_arn} is invalid")));
    }
    let session_name = text("RoleSessionName").unwrap_or_default();
    constrain(&session_name, "roleSessionName", 2, 64, "=,.@-", r"[\w+=,.@-]*")?;
    let external_id = text("ExternalId");
    if let Some(id) = &external_id {
        constrain(id, "externalId", 2, 1_224, "=,.@:/-", r"[\w+=,.@:\/-]*")?;
    }
    check_tags(call)?;
    let duration_secs = match call.param("DurationSeconds") {
        Some(secs) => duration(secs)?,
        None => 3_600,
    };
    Ok(AssumeRequest { role_arn, session_name, external_id, duration_secs })
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::sender(400, "ValidationError", message)
}

fn duration(text: &str) -> Result<u32, AwsError> {
    let secs: u32 =
        text.parse().map_err(|_| invalid(format!("{text} is not a whole number of seconds")))?;
    let broken = if secs < MIN_SESSION_SECS {
        format!("greater than or equal to {MIN_SESSION_SECS}")
    } else if secs > MAX_SESSION_SECS {
        format!("less than or equal to {MAX_SESSION_SECS}")
    } else {
        return Ok(secs);
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{secs}' at 'durationSeconds' failed to satisfy constraint: Member must have value \
         {broken}"
    )))
}

/// `arn:partition:service:region:account:resource`, none of partition, service and resource empty, and an account where one
/// belongs.
fn is_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    matches!(parts.as_slice(), ["arn", partition, "iam", "", account, resource]
        if !partition.is_empty() && account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit()) && !resource.is_empty())
}

fn constrain(
    text: &str,
    field: &str,
    min: usize,
    max: usize,
    extra: &str,
    pattern: &str,
) -> Result<(), AwsError> {
    let length = text.chars().count();
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '+' || extra.contains(c);
    let broken = if !text.chars().all(allowed) {
        format!("Member must satisfy regular expression pattern: {pattern}")
    } else if length < min {
        format!("Member must have length greater than or equal to {min}")
    } else if length > max {
        format!("Member must have length less than or equal to {max}")
    } else {
        return Ok(());
    };
    Err(invalid(format!(
        "1 validation error detected: Value '{text}' at '{field}' failed to satisfy constraint: {broken}"
    )))
}

fn check_tags(call: &Call) -> Result<(), AwsError> {
    let values = |prefix: &str, suffix: &str| -> Vec<String> {
        let fits = |name: &str| name.starts_with(prefix) && name.ends_with(suffix);
        call.query
            .iter()
            .filter(|(name, _)| fits(name))
            .map(|(_, value)| value.to_lowercase())
            .collect()
    };
    let keys = values("Tags.member.", ".Key");
    let mut distinct = keys.clone();
    distinct.sort();
    distinct.dedup();
    if distinct.len() < keys.len() {
        let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        return Err(AwsError::sender(400, "InvalidParameterValue", message));
    }
    if values("TransitiveTagKeys.member.", "").iter().any(|key| !keys.contains(key)) {
        let message = "The specified transitive tag key must be included in the requested tags.";
        return Err(AwsError::sender(400, "InvalidParameterValue", message));
    }
    Ok(())
}

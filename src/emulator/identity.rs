//! Callers and their permissions: keys of users, roles, and the sessions of assumed roles.

use std::collections::BTreeMap;

use super::action::Action;
use super::config::{AccountConfig, RoleConfig, Secret};
use super::error::AwsError;
use super::ids::IdSource;
use crate::core::ids::AccountId;
use crate::core::time::{Millis, Timestamp};

/// The kind of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallerKind {
    /// A user with a long-lived key: may do everything in the account.
    User,
    /// A session of a role.
    Session { role_arn: String, expires_at: Timestamp, token: String },
}

/// A caller, found by the access key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub account: AccountId,
    /// `arn:aws:iam::…:user/…` or `arn:aws:sts::…:assumed-role/…/…`.
    pub arn: String,
    /// `AIDA…` or `AROA…:session`.
    pub user_id: String,
    pub secret: Secret,
    pub standing: CallerKind,
}

impl Caller {
    /// Checks the token and its age.
    pub fn check_token(&self, token: Option<&str>, now: Timestamp) -> Result<(), AwsError> {
        match &self.standing {
            CallerKind::User if token.is_none() => Ok(()),
            CallerKind::Session { expires_at, token: own, .. } if token == Some(own) => {
                if now < *expires_at { Ok(()) } else { Err(AwsError::expired_token()) }
            }
            _ => Err(AwsError::invalid_client_token()),
        }
    }
}

/// The credentials of a new session.
#[derive(Clone, Debug)]
pub(super) struct SessionCredentials {
    pub access_key_id: String,
    pub secret: Secret,
    pub token: String,
    pub expires_at: Timestamp,
    /// `arn:aws:sts::…:assumed-role/role/session`.
    pub arn: String,
    /// `AROA…:session`.
    pub role_id: String,
}

/// A request of AssumeRole.
#[derive(Clone, Debug, Default)]
pub(super) struct AssumeRequest {
    pub role_arn: String,
    pub session_name: String,
    pub external_id: Option<String>,
    pub duration_secs: u32,
}

/// All keys, roles and sessions.
#[derive(Debug, Default)]
pub(super) struct Identities {
    callers: BTreeMap<String, Caller>,
    roles: BTreeMap<String, (AccountId, RoleConfig)>,
}

impl Identities {
    /// The configured keys and roles.
    pub fn new(accounts: &[AccountConfig], ids: &mut IdSource) -> Self {
        let mut identities = Self::default();
        for account in accounts {
            for key in &account.access_keys {
                let caller = Caller {
                    account: account.id.clone(),
                    arn: format!("arn:aws:iam::{}:user/{}", account.id, key.user),
                    user_id: ids.text("AIDA", 17),
                    secret: key.secret.clone(),
                    standing: CallerKind::User,
                };
                identities.callers.insert(key.id.clone(), caller);
            }
            for role in &account.roles {
                identities.roles.insert(role.arn.clone(), (account.id.clone(), role.clone()));
            }
        }
        identities
    }

    /// The caller with this access key.
    pub fn caller(&self, access_key_id: &str) -> Option<&Caller> {
        self.callers.get(access_key_id)
    }

    /// Opens a session of a role. A missing role, a refusal of the trust policy and a wrong external id read the same.
    pub fn assume(
        &mut self,
        by: &Caller,
        request: &AssumeRequest,
        now: Timestamp,
        ids: &mut IdSource,
    ) -> Result<SessionCredentials, AwsError> {
        let denied = || {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                by.arn, request.role_arn
            );
            AwsError::sender(403, "AccessDenied", message)
        };
        let (account, role) = self.roles.get(&request.role_arn).ok_or_else(denied)?;
        let knows_external_id =
            role.external_id.is_none() || role.external_id == request.external_id;
        if !knows_external_id
            || !role.trusted_principals.iter().any(|principal| trusts(principal, by))
        {
            return Err(denied());
        }
        check_duration(by, role, request.duration_secs)?;
        let role_name = role.arn.rsplit('/').next().unwrap_or_default();
        let credentials = SessionCredentials {
            access_key_id: ids.text("ASIA", 16),
            secret: Secret::new(ids.text("", 40)),
            token: ids.text("FwoGZXIvYXdzE", 200),
            expires_at: now + Millis::from_secs(i64::from(request.duration_secs)),
            arn: format!(
                "arn:aws:sts::{account}:assumed-role/{role_name}/{}",
                request.session_name
            ),
            role_id: format!("{}:{}", ids.text("AROA", 17), request.session_name),
        };
        let caller = Caller {
            account: account.clone(),
            arn: credentials.arn.clone(),
            user_id: credentials.role_id.clone(),
            secret: credentials.secret.clone(),
            standing: CallerKind::Session {
                role_arn: role.arn.clone(),
                expires_at: credentials.expires_at,
                token: credentials.token.clone(),
            },
        };
        self.forget_expired(now);
        self.callers.insert(credentials.access_key_id.clone(), caller);
        Ok(credentials)
    }

    /// Whether the caller may do this, to this zone where it is about one.
    pub fn authorise(
        &self,
        caller: &Caller,
        action: Action,
        zone: Option<&str>,
    ) -> Result<(), AwsError> {
        let CallerKind::Session { role_arn, .. } = &caller.standing else { return Ok(()) };
        let allowed = self.roles.get(role_arn).is_some_and(|(_, role)| {
            let name = format!("{}:{action}", action.service().as_str());
            let zone_allowed = match zone {
                Some(zone) => {
                    role.allowed_zones.is_empty()
                        || role.allowed_zones.iter().any(|id| id.as_str() == zone)
                }
                None => true,
            };
            zone_allowed && role.allowed_actions.iter().any(|pattern| glob(pattern, &name))
        });
        if allowed { Ok(()) } else { Err(denied(&caller.arn, action, zone)) }
    }

    /// A day after its end a session is no longer asked for.
    fn forget_expired(&mut self, now: Timestamp) {
        self.callers.retain(|_, caller| match &caller.standing {
            CallerKind::Session { expires_at, .. } => {
                now.since(*expires_at) < Millis::from_secs(86_400)
            }
            CallerKind::User => true,
        });
    }
}

/// 403 `AccessDenied` in the words of IAM.
pub(super) fn denied(arn: &str, action: Action, zone: Option<&str>) -> AwsError {
    let service = action.service().as_str();
    let resource = zone
        .map(|zone| format!(" on resource: arn:aws:route53:::hostedzone/{zone}"))
        .unwrap_or_default();
    AwsError::sender(
        403,
        "AccessDenied",
        format!(
            "User: {arn} is not authorized to perform: {service}:{action}{resource} because no identity-based policy allows \
             the {service}:{action} action"
        ),
    )
}

fn trusts(principal: &str, caller: &Caller) -> bool {
    let role = match &caller.standing {
        CallerKind::Session { role_arn, .. } => Some(role_arn.as_str()),
        CallerKind::User => None,
    };
    principal == "*"
        || principal == caller.arn
        || Some(principal) == role
        || principal == format!("arn:aws:iam::{}:root", caller.account)
        || principal == caller.account.as_str()
}

/// STS: 900 seconds to the role's maximum, one hour when a session assumes the next role.
fn check_duration(by: &Caller, role: &RoleConfig, duration_secs: u32) -> Result<(), AwsError> {
    let invalid = |message: &str| Err(AwsError::sender(400, "ValidationError", message));
    if matches!(by.standing, CallerKind::Session { .. }) && duration_secs > 3_600 {
        return invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.",
        );
    }
    if duration_secs > role.max_session_secs {
        return invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        );
    }
    Ok(())
}

/// Matches `*` (any run) and `?` (one character).
pub(super) fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(wanted) if *wanted == b'?' || *wanted == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((after_star, from)) => {
                    retry = Some((after_star, from + 1));
                    p = after_star;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_runs_and_single_characters() {
        for (pattern, text, matches) in [
            ("*", "", true),
            ("route53:List*", "route53:ListHostedZones", true),
            ("route53:List*", "route53:GetChange", false),
            ("*.dev.*.com", "a.dev.example.com", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a", "bab", false),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }
}

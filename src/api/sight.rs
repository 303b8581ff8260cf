//! What a caller sees: everything, or what belongs to some environments.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::ApiState;
use super::problem::ApiError;
use super::role::Granted;
use crate::core::dns::name::DnsName;
use crate::core::ids::{AccountId, ClusterId, EnvironmentId, ZoneId};
use crate::core::people::role::SeenEnvironments;

/// See the module's page. What belongs to no environment that is known is seen by those alone who see everything.
#[derive(Clone, Debug)]
pub struct Sight(SeenEnvironments);

impl<S: Send + Sync> FromRequestParts<S> for Sight {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        // Without a caller there is no route that shows anything.
        let granted = parts.extensions.get::<Granted>();
        Ok(Self(granted.map_or(Some(Default::default()), |granted| granted.environments.clone())))
    }
}

impl Sight {
    /// What a caller sees.
    pub fn by(granted: &Granted) -> Self {
        Self(granted.environments.clone())
    }

    /// Whether everything is seen.
    pub fn is_whole(&self) -> bool {
        self.0.is_none()
    }

    /// Refuses what cannot be told apart by environments to a caller who sees some of them.
    pub fn whole(&self) -> Result<(), ApiError> {
        match self.is_whole() {
            true => Ok(()),
            false => Err(ApiError::NotYours(
                "this shows what belongs to all environments, and you see some of them".to_owned(),
            )),
        }
    }

    /// Whether what belongs to an environment is seen.
    pub fn of(&self, environment: &EnvironmentId) -> bool {
        self.0.as_ref().is_none_or(|seen| seen.contains(environment))
    }

    /// Whether a cluster is seen, with what it publishes.
    pub fn of_cluster(&self, state: &ApiState, cluster: &ClusterId) -> bool {
        self.is_whole() || {
            let settings = state.broker.directory.settings();
            settings.get(cluster).is_some_and(|cluster| self.of(&cluster.environment))
        }
    }

    /// Whether an account is seen, with its zones and what became of them.
    pub fn of_account(&self, state: &ApiState, account: &AccountId) -> bool {
        self.is_whole() || {
            let configured = state.broker.workers.configured();
            configured.get(account).is_some_and(|account| self.of(&account.environment))
        }
    }

    /// Whether a hosted zone is seen.
    pub fn of_zone(&self, state: &ApiState, zone: &ZoneId) -> bool {
        self.is_whole() || {
            let zones = state.broker.directory.zones();
            zones.get(zone).is_some_and(|facts| self.of(&facts.environment))
        }
    }

    /// Whether a zone of this name is seen.
    pub fn of_apex(&self, state: &ApiState, apex: &DnsName) -> bool {
        self.is_whole() || {
            let zones = state.broker.directory.zones();
            zones.iter().any(|facts| facts.name == *apex && self.of(&facts.environment))
        }
    }
}

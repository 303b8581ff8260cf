//! Route 53 and STS over the AWS SDK: the ports [`DnsProvider`] and [`DnsProviders`].
//!
//! Clients are shared by all accounts of a partition; each account has its own credentials (`credentials`) and its own
//! stack of small services that every request goes through (`service`). Answers are judged by pure functions (`classify`)
//! and translated without loss (`wire`). The SDK's retries are off for Route 53: they would resend a batch whose outcome is
//! unknown, and pay for nothing. `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_ROUTE_53` and `AWS_ENDPOINT_URL_STS` are read by the
//! SDK; an endpoint in [`AwsOptions`] wins over them.

mod aws_time;
mod classify;
mod credentials;
pub mod offline;
mod service;
mod whole;
mod wire;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_route53::config::IdentityCache;
use aws_sdk_route53::config::retry::RetryConfig;
use aws_sdk_route53::config::timeout::TimeoutConfig;
use aws_smithy_http_client::tls;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tower::ServiceExt as _;

use crate::core::aws::access::{AccountAccess, Partition, RoleArn};
use crate::core::ids::{AccountId, ZoneId};
use crate::core::limits::budget::Permit;
use crate::core::planning::change::WireChange;
use crate::ports::{
    CallError, CallerIdentity, ChangeReceipt, Clock, DnsProvider, DnsProviders, RecordCursor,
    RecordPage, ZonePage,
};
use aws_time::{AwsTime, FollowsAws};
use credentials::{CredentialCache, Source};
use service::{Operation, Route53Answer, Route53Request};
use whole::WholeAnswers;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one attempt at STS may take; the SDK makes up to three.
const STS_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);

/// How AWS is called. The default follows the environment.
#[derive(Clone, Debug)]
pub struct AwsOptions {
    /// Where Route 53 is; by default where the SDK finds it.
    pub route53_endpoint: Option<String>,
    /// Where STS is; by default where the SDK finds it.
    pub sts_endpoint: Option<String>,
    /// The broker's own credentials; by default the SDK's chain: environment, profile, IRSA, Pod Identity, instance role.
    pub base_credentials: Option<SharedCredentialsProvider>,
    /// The region whose STS is asked; by default the environment's. It has to be of the account's partition to count.
    pub region: Option<String>,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// Part of the session names, such as the name of the replica.
    pub instance: String,
    /// Decides how early each account renews its credentials.
    pub seed: u64,
    /// Another HTTP client, for tests; by default one with TLS on ring.
    pub http_client: Option<SharedHttpClient>,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self {
            route53_endpoint: None,
            sts_endpoint: None,
            base_credentials: None,
            region: None,
            attempt_timeout: Duration::from_secs(30),
            instance: "broker".to_owned(),
            seed: 0,
            http_client: None,
        }
    }
}

impl AwsOptions {
    /// One endpoint for both services and fixed credentials, for an emulator.
    pub fn emulator(endpoint: &str, access_key_id: &str, secret_access_key: &str) -> Self {
        let credentials =
            Credentials::new(access_key_id, secret_access_key, None, None, "zonefold-emulator");
        Self {
            route53_endpoint: Some(endpoint.to_owned()),
            sts_endpoint: Some(endpoint.to_owned()),
            base_credentials: Some(SharedCredentialsProvider::new(credentials)),
            region: Some(Partition::Aws.route53_region().to_owned()),
            ..Self::default()
        }
    }
}

/// The only place where an HTTP client for AWS is made: rustls on ring, as everywhere in this program.
fn https_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https()
}

/// The providers of all configured accounts.
pub struct AwsProviders {
    sdk_config: SdkConfig,
    options: AwsOptions,
    time: AwsTime,
    base: Arc<CredentialCache>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    accounts: BTreeMap<AccountId, Entry>,
    // Roles that several accounts are reached through share one session.
    hops: BTreeMap<RoleArn, Arc<CredentialCache>>,
    clients: BTreeMap<Partition, Clients>,
}

struct Entry {
    access: AccountAccess,
    provider: Option<Arc<AwsProvider>>,
}

#[derive(Clone)]
struct Clients {
    route53: aws_sdk_route53::Client,
    sts: aws_sdk_sts::Client,
}

impl AwsProviders {
    /// Reads the environment and takes the accounts; nothing is called before a provider is used. `clock` is the system's time of
    /// day: calls are signed at it, or at AWS's where the two differ.
    pub async fn new(
        accounts: Vec<AccountAccess>,
        options: AwsOptions,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let http_client = options.http_client.clone().unwrap_or_else(https_client);
        let time = AwsTime::new(clock);
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http_client)
            .time_source(time.clone())
            // Ours is one for all clients and for the credentials; two corrections would add up.
            .disable_clock_skew_correction(true)
            .identity_cache(IdentityCache::no_cache());
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        if let Some(credentials) = &options.base_credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        let sdk_config = loader.load().await;
        let provider = sdk_config
            .credentials_provider()
            .unwrap_or_else(|| SharedCredentialsProvider::new(NoCredentials));
        let base = CredentialCache::new(
            Source::Base(provider),
            Arc::new(time.clone()),
            options.seed,
            "base",
        );
        let providers =
            Self { sdk_config, options, time, base: Arc::new(base), known: Mutex::default() };
        providers.set_accounts(accounts);
        providers
    }

    /// Takes the accounts of a new configuration. An account that is reached as before keeps its provider.
    pub fn set_accounts(&self, accounts: Vec<AccountAccess>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut known.accounts);
        for access in accounts {
            let entry = match before.remove(&access.account) {
                Some(entry) if entry.access == access => entry,
                _ => Entry { access: access.clone(), provider: None },
            };
            known.accounts.insert(access.account, entry);
        }
    }

    fn clients(&self, known: &mut Known, partition: Partition) -> Clients {
        known.clients.entry(partition).or_insert_with(|| self.make_clients(partition)).clone()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that makes clients: no retries, one HTTP connector"
    )]
    fn make_clients(&self, partition: Partition) -> Clients {
        let mut route53 = aws_sdk_route53::config::Builder::from(&self.sdk_config)
            .region(Region::new(partition.route53_region()))
            .interceptor(WholeAnswers)
            .interceptor(FollowsAws(self.time.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build());
        if let Some(endpoint) = &self.options.route53_endpoint {
            route53 = route53.endpoint_url(endpoint);
        }
        let sts_timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .operation_attempt_timeout(STS_ATTEMPT_TIMEOUT)
            .build();
        let mut sts = aws_sdk_sts::config::Builder::from(&self.sdk_config)
            .region(Region::new(self.sts_region(partition)))
            .interceptor(WholeAnswers)
            .interceptor(FollowsAws(self.time.clone()))
            .timeout_config(sts_timeouts);
        if let Some(endpoint) = &self.options.sts_endpoint {
            sts = sts.endpoint_url(endpoint);
        }
        Clients {
            route53: aws_sdk_route53::Client::from_conf(route53.build()),
            sts: aws_sdk_sts::Client::from_conf(sts.build()),
        }
    }

    /// The region of the environment when it lies in the partition, else the partition's own.
    fn sts_region(&self, partition: Partition) -> String {
        let of = |region: &str| match region {
            _ if region.starts_with("cn-") => Partition::AwsCn,
            _ if region.starts_with("us-gov-") => Partition::AwsUsGov,
            _ => Partition::Aws,
        };
        match self.sdk_config.region() {
            Some(region) if of(region.as_ref()) == partition => region.to_string(),
            _ => partition.route53_region().to_owned(),
        }
    }

    fn make_provider(&self, known: &mut Known, access: &AccountAccess) -> AwsProvider {
        let clients = self.clients(known, access.partition);
        let caller = match &access.via_role_arn {
            None => Arc::clone(&self.base),
            Some(hop) => Arc::clone(known.hops.entry(hop.clone()).or_insert_with(|| {
                Arc::new(self.role_credentials(
                    &clients.sts,
                    Arc::clone(&self.base),
                    hop,
                    None,
                    hop.as_str(),
                ))
            })),
        };
        let credentials = match &access.role_arn {
            None => caller,
            Some(role) => Arc::new(self.role_credentials(
                &clients.sts,
                caller,
                role,
                access.external_id.clone(),
                access.account.as_str(),
            )),
        };
        AwsProvider {
            stack: service::stack(
                access.account.clone(),
                clients.route53,
                Arc::clone(&credentials),
                self.options.attempt_timeout,
            ),
            sts: clients.sts,
            credentials,
        }
    }

    fn role_credentials(
        &self,
        sts: &aws_sdk_sts::Client,
        caller: Arc<CredentialCache>,
        role: &RoleArn,
        external_id: Option<crate::core::aws::access::ExternalId>,
        name: &str,
    ) -> CredentialCache {
        let source = Source::Role {
            sts: sts.clone(),
            caller,
            role: role.clone(),
            external_id,
            session_name: credentials::session_name(&self.options.instance),
        };
        CredentialCache::new(source, Arc::new(self.time.clone()), self.options.seed, name)
    }
}

#[async_trait]
impl DnsProviders for AwsProviders {
    async fn provider(&self, account: &AccountId) -> Result<Arc<dyn DnsProvider>, CallError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = known.accounts.get(account) else {
            let message = format!("the account {account} is not configured; add it to accounts");
            return Err(CallError::NotSent { message });
        };
        if let Some(provider) = &entry.provider {
            return Ok(Arc::clone(provider) as Arc<dyn DnsProvider>);
        }
        let access = entry.access.clone();
        let provider = Arc::new(self.make_provider(&mut known, &access));
        if let Some(entry) = known.accounts.get_mut(account) {
            entry.provider = Some(Arc::clone(&provider));
        }
        Ok(provider)
    }
}

/// Stands where the SDK found no provider at all.
#[derive(Debug)]
struct NoCredentials;

impl aws_credential_types::provider::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let error =
            aws_credential_types::provider::error::CredentialsError::not_loaded("no provider");
        aws_credential_types::provider::future::ProvideCredentials::ready(Err(error))
    }
}

/// Route 53 and STS of one account.
pub struct AwsProvider {
    stack: service::Stack,
    sts: aws_sdk_sts::Client,
    credentials: Arc<CredentialCache>,
}

impl AwsProvider {
    async fn ask(&self, permit: Permit, operation: Operation) -> Result<Route53Answer, CallError> {
        self.stack.clone().oneshot(Route53Request { permit, operation }).await
    }
}

/// The answer of another operation than the one that was asked for.
fn mixed_up() -> CallError {
    CallError::Unknown { message: "the answer belongs to another operation".to_owned() }
}

#[async_trait]
impl DnsProvider for AwsProvider {
    async fn identity(&self) -> Result<CallerIdentity, CallError> {
        let with =
            aws_sdk_sts::config::Builder::new().credentials_provider(self.credentials.get().await?);
        let output = self
            .sts
            .get_caller_identity()
            .customize()
            .config_override(with)
            .send()
            .await
            .map_err(|error| classify::sdk_error(&error, classify::route53_refusal))?;
        let account = AccountId::parse(output.account().unwrap_or_default()).map_err(|error| {
            CallError::Unknown {
                message: format!("STS answered an identity that cannot be read: {error}"),
            }
        })?;
        Ok(CallerIdentity { account, arn: output.arn().unwrap_or_default().to_owned() })
    }

    async fn list_zones(
        &self,
        permit: Permit,
        marker: Option<String>,
    ) -> Result<ZonePage, CallError> {
        match self.ask(permit, Operation::ListZones { marker }).await? {
            Route53Answer::Zones(page) => Ok(page),
            _ => Err(mixed_up()),
        }
    }

    async fn zone_tags(
        &self,
        permit: Permit,
        zones: &[ZoneId],
    ) -> Result<BTreeMap<ZoneId, BTreeMap<String, String>>, CallError> {
        match self.ask(permit, Operation::ZoneTags { zones: zones.to_vec() }).await? {
            Route53Answer::Tags(tags) => Ok(tags),
            _ => Err(mixed_up()),
        }
    }

    async fn list_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        from: Option<RecordCursor>,
    ) -> Result<RecordPage, CallError> {
        match self.ask(permit, Operation::ListRecords { zone: zone.clone(), from }).await? {
            Route53Answer::Records(page) => Ok(page),
            _ => Err(mixed_up()),
        }
    }

    async fn change_records(
        &self,
        permit: Permit,
        zone: &ZoneId,
        comment: &str,
        changes: &[WireChange],
    ) -> Result<ChangeReceipt, CallError> {
        let operation = Operation::ChangeRecords {
            zone: zone.clone(),
            comment: comment.to_owned(),
            changes: changes.to_vec(),
        };
        match self.ask(permit, operation).await? {
            Route53Answer::Accepted(receipt) => Ok(receipt),
            _ => Err(mixed_up()),
        }
    }

    async fn change_in_sync(&self, permit: Permit, change_id: &str) -> Result<bool, CallError> {
        match self.ask(permit, Operation::GetChange { change_id: change_id.to_owned() }).await? {
            Route53Answer::InSync(in_sync) => Ok(in_sync),
            _ => Err(mixed_up()),
        }
    }

    async fn refresh_credentials(&self) {
        self.credentials.forget().await;
    }
}

#[cfg(test)]
mod tests;

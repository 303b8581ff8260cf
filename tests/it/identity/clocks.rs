//! Time of day: what calls to AWS are signed at and tokens are judged by, when a clock is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use zonefold::adapters::clock::SystemClock;
use zonefold::adapters::route53::{AwsOptions, AwsProviders};
use zonefold::core::aws::access::{AccountAccess, ExternalId, Partition, RoleArn};
use zonefold::core::ids::AccountId;
use zonefold::core::limits::budget::{ApiAction, Budget, BudgetConfig, Lane, StartLevel};
use zonefold::core::time::Timestamp;
use zonefold::emulator::{ClockMode, EmulatorConfig};
use zonefold::ports::{CallError, Clock, DnsProvider, DnsProviders as _};

use crate::emulator::support as aws;

const HOUR_MS: i64 = 3_600_000;

/// The system's clock, and how wrong it is.
struct WrongBy(AtomicI64);

impl Clock for WrongBy {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0 + self.0.load(Ordering::Relaxed))
    }
}

async fn identity(provider: &Arc<dyn DnsProvider>) -> Result<String, CallError> {
    provider.identity().await.map(|identity| identity.account.to_string())
}

async fn zones(provider: &Arc<dyn DnsProvider>) -> Result<Vec<String>, CallError> {
    let now = Timestamp(0);
    let mut budget = Budget::new(&BudgetConfig::profile_2026(), StartLevel::Full, now);
    let permit = budget.try_take(now, Lane::Urgent, ApiAction::ListHostedZones, 0).unwrap();
    let page = provider.list_zones(permit, None).await?;
    Ok(page.zones.iter().map(|zone| zone.name.to_string()).collect())
}

#[tokio::test]
async fn calls_are_signed_at_aws_s_time_when_the_clock_of_the_machine_is_wrong() {
    let emulator = aws::start(EmulatorConfig { clock: ClockMode::Real, ..aws::config() }).await;
    let access = |id: &str, role: Option<&str>| AccountAccess {
        account: AccountId::parse(id).unwrap(),
        partition: Partition::Aws,
        via_role_arn: None,
        role_arn: role.map(|role| RoleArn::parse(role).unwrap()),
        external_id: role.map(|_| ExternalId::parse("right").unwrap()),
    };
    for wrong_by_ms in [HOUR_MS, -HOUR_MS] {
        let clock = Arc::new(WrongBy(AtomicI64::new(wrong_by_ms)));
        let options = AwsOptions {
            http_client: Some(aws_smithy_http_client::Builder::new().build_http()),
            ..AwsOptions::emulator(&emulator.endpoint_url(), aws::KEY, aws::SECRET)
        };
        let own = access(aws::ACCOUNT, None);
        let assumed = access(aws::OTHER_ACCOUNT, Some(aws::ROLE));
        let providers = AwsProviders::new(
            vec![own.clone(), assumed.clone()],
            options,
            Arc::clone(&clock) as Arc<dyn Clock>,
        )
        .await;
        let own = providers.provider(&own.account).await.unwrap();
        let assumed = providers.provider(&assumed.account).await.unwrap();

        // The first call is refused and says what time it is at AWS; nothing was sent that counts.
        let refused = identity(&own).await.unwrap_err();
        assert!(
            matches!(&refused, CallError::NotSent { message } if message.contains("the clock of this machine")),
            "{refused}"
        );
        assert_eq!(zones(&own).await.unwrap(), ["example.com"], "Route 53 is signed for as STS is");
        assert_eq!(identity(&own).await.unwrap(), aws::ACCOUNT);
        assert_eq!(identity(&assumed).await.unwrap(), aws::OTHER_ACCOUNT, "the role as well");

        // The clock is set right: the correction is wrong now, and goes in the same way.
        clock.0.store(0, Ordering::Relaxed);
        assert!(matches!(zones(&own).await, Err(CallError::NotSent { .. })));
        assert_eq!(zones(&own).await.unwrap(), ["example.com"]);
        assert_eq!(identity(&own).await.unwrap(), aws::ACCOUNT);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_denied_whatever_the_time() {
    let emulator = aws::start(EmulatorConfig { clock: ClockMode::Real, ..aws::config() }).await;
    let access = AccountAccess {
        account: AccountId::parse(aws::ACCOUNT).unwrap(),
        partition: Partition::Aws,
        via_role_arn: None,
        role_arn: None,
        external_id: None,
    };
    let options = AwsOptions {
        http_client: Some(aws_smithy_http_client::Builder::new().build_http()),
        ..AwsOptions::emulator(&emulator.endpoint_url(), aws::KEY, "another-secret")
    };
    let providers = AwsProviders::new(vec![access.clone()], options, Arc::new(SystemClock)).await;
    let provider = providers.provider(&access.account).await.unwrap();
    for _ in 0..2 {
        assert!(matches!(identity(&provider).await, Err(CallError::Denied { .. })));
    }
}

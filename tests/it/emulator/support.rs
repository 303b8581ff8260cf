//! An emulator with two accounts, and the real AWS clients against it.

use aws_sdk_route53::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use zonefold::core::dns::name::DnsName;
use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::emulator::*;

pub const ACCOUNT: &str = "111111111111";
pub const OTHER_ACCOUNT: &str = "222222222222";
pub const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
pub const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
pub const ROLE: &str = "arn:aws:iam::222222222222:role/zonefold";
pub const READER: &str = "arn:aws:iam::222222222222:role/reader";
pub const ZONE: &str = "Z0EXAMPLE";

pub fn name(text: &str) -> DnsName {
    DnsName::parse(text).unwrap()
}

/// No limits, no busy zones, changes in sync at once, and a clock that stands at the present.
pub fn config() -> EmulatorConfig {
    let mut account = AccountConfig::new(AccountId::parse(ACCOUNT).unwrap());
    account.limits = LimitsConfig::of(LimitsProfile::Unlimited);
    account.access_keys = vec![AccessKeyConfig {
        id: KEY.to_owned(),
        secret: Secret::new(SECRET),
        user: "admin".to_owned(),
    }];
    account.zones = vec![ZoneConfig {
        id: Some(ZoneId::parse(ZONE).unwrap()),
        ..ZoneConfig::public(name("example.com"))
    }];
    let mut other = AccountConfig::new(AccountId::parse(OTHER_ACCOUNT).unwrap());
    other.limits = LimitsConfig::of(LimitsProfile::Unlimited);
    other.zones = vec![ZoneConfig::public(name("example.net"))];
    let trusted = vec![format!("arn:aws:iam::{ACCOUNT}:root")];
    other.roles = vec![
        RoleConfig {
            trusted_principals: trusted.clone(),
            external_id: Some("right".to_owned()),
            max_session_secs: 43_200,
            ..RoleConfig::new(ROLE)
        },
        RoleConfig {
            trusted_principals: vec![ROLE.to_owned(), trusted[0].clone()],
            allowed_actions: vec!["route53:List*".to_owned()],
            max_session_secs: 43_200,
            ..RoleConfig::new(READER)
        },
    ];
    EmulatorConfig {
        accounts: vec![account, other],
        // The SDK signs with the system's time, so a stepped clock has to start there.
        clock: ClockMode::Stepped { start_ms: jiff::Timestamp::now().as_millisecond() },
        process_ms: 0,
        propagation_ms: 0,
        ..EmulatorConfig::default()
    }
}

pub async fn start(config: EmulatorConfig) -> EmulatorHandle {
    Emulator::start(config).await.unwrap()
}

pub fn user() -> Credentials {
    Credentials::new(KEY, SECRET, None, None, "test")
}

pub fn route53(emulator: &EmulatorHandle, credentials: Credentials) -> aws_sdk_route53::Client {
    crate::support::aws::route53(&emulator.endpoint_url(), credentials)
}

pub fn sts(emulator: &EmulatorHandle, credentials: Credentials) -> aws_sdk_sts::Client {
    let config = aws_sdk_sts::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(emulator.endpoint_url())
        .credentials_provider(credentials)
        .build();
    aws_sdk_sts::Client::from_conf(config)
}

pub fn a_set(owner: &str, ttl: i64, values: &[&str]) -> ResourceRecordSet {
    let records = values
        .iter()
        .map(|value| ResourceRecord::builder().value(*value).build().unwrap())
        .collect();
    ResourceRecordSet::builder()
        .name(owner)
        .r#type(RrType::A)
        .ttl(ttl)
        .set_resource_records(Some(records))
        .build()
        .unwrap()
}

pub fn batch(changes: Vec<(ChangeAction, ResourceRecordSet)>) -> ChangeBatch {
    let change =
        |(action, set)| Change::builder().action(action).resource_record_set(set).build().unwrap();
    ChangeBatch::builder()
        .comment("a test")
        .set_changes(Some(changes.into_iter().map(change).collect()))
        .build()
        .unwrap()
}

/// The code and message of a refusal.
pub fn refusal<E: aws_smithy_types::error::metadata::ProvideErrorMetadata>(
    error: E,
) -> (String, String) {
    (error.code().unwrap_or_default().to_owned(), error.message().unwrap_or_default().to_owned())
}

pub async fn change(
    client: &aws_sdk_route53::Client,
    changes: Vec<(ChangeAction, ResourceRecordSet)>,
) -> Result<String, (String, String)> {
    let sent = client
        .change_resource_record_sets()
        .hosted_zone_id(ZONE)
        .change_batch(batch(changes))
        .send()
        .await;
    sent.map(|output| output.change_info.unwrap().id).map_err(refusal)
}

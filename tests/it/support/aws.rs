//! An AWS of three accounts, with any emulator: `operations` has the broker's user, `dev` and `prod` have a zone each and a
//! role that this user may assume.

use std::net::SocketAddr;

use aws_sdk_route53::config::{
    BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_sdk_route53::types::{
    Change, ChangeAction, ChangeBatch, ResourceRecord, ResourceRecordSet, RrType,
};
use serde_json::{Value, json};
use zonefold::core::dns::name::DnsName;
use zonefold::core::dns::record::RawRecordSet;
use zonefold::core::ids::{AccountId, ZoneId};
use zonefold::emulator::{self, *};

use super::tap::Tap;

pub const OPERATIONS: &str = "999999999999";
pub const DEV: &str = "111111111111";
pub const PROD: &str = "333333333333";
pub const DEV_ZONE: &str = "dev.example.com";
/// The accounts with a zone: id, environment and zone.
pub const ACCOUNTS: [(&str, &str, &str); 2] =
    [(DEV, "dev", DEV_ZONE), (PROD, "prod", "prod.example.com")];

/// An account with a zone.
pub struct Account {
    pub id: &'static str,
    pub environment: &'static str,
    pub zone_name: &'static str,
    pub zone: String,
}

/// How a test looks at the records without going through us.
pub enum Look {
    /// In process: it takes no token of the account's buckets.
    Emulator(Control),
    /// By the API, as the account's root whose key id is the account's number.
    Api { endpoint: String, root_secret: String },
}

/// The way to an emulated AWS.
pub struct Aws {
    /// Where the broker is sent, so that secrets on their way to it are seen.
    pub tap: Tap,
    look: Look,
    pub key_id: String,
    pub secret: String,
    pub accounts: Vec<Account>,
}

/// The answer of a record set: its TTL and its sorted values.
pub type Answer = Option<(i64, Vec<String>)>;

/// A record set: its name with the final dot, its type, its TTL and its sorted values.
pub type Record = (String, String, i64, Vec<String>);

impl Aws {
    pub async fn new(
        upstream: SocketAddr,
        (key_id, secret): (&str, &str),
        look: Look,
        zone_of: impl Fn(&str) -> String,
    ) -> Self {
        let account = |(id, environment, zone_name)| Account {
            id,
            environment,
            zone_name,
            zone: zone_of(zone_name),
        };
        Self {
            tap: Tap::before(upstream).await,
            look,
            key_id: key_id.to_owned(),
            secret: secret.to_owned(),
            accounts: ACCOUNTS.into_iter().map(account).collect(),
        }
    }

    pub fn account(&self, environment: &str) -> &Account {
        self.accounts.iter().find(|account| account.environment == environment).unwrap()
    }

    /// The accounts as the broker's configuration describes them.
    pub fn configured(&self) -> Value {
        let account = |account: &Account| {
            json!({
                "id": account.id, "name": format!("{}-dns", account.environment), "environment": account.environment,
                "role_arn": role(account.id), "external_id": external_id(account.environment),
                "zones": [{ "name": account.zone_name, "record_types": "all" }],
            })
        };
        self.accounts.iter().map(account).collect()
    }

    /// The record set that Route 53 lists for a name and type.
    pub async fn answer(&self, environment: &str, name: &str, rtype: &str) -> Answer {
        let all = self.records(environment).await;
        let wanted = format!("{name}.");
        all.into_iter()
            .find(|set| set.0 == wanted && set.1 == rtype)
            .map(|(_, _, ttl_secs, values)| (ttl_secs, values))
    }

    /// Everything that Route 53 lists of the environment's zone.
    pub async fn records(&self, environment: &str) -> Vec<Record> {
        let account = self.account(environment);
        let mut records = match &self.look {
            Look::Emulator(control) => {
                let listed = control
                    .records(&ZoneId::parse(&account.zone).unwrap(), View::Accepted)
                    .unwrap();
                let values =
                    |set: &RawRecordSet| set.values.iter().map(ToString::to_string).collect();
                let record = |set: &RawRecordSet| {
                    (
                        set.name.to_string(),
                        set.rtype.to_string(),
                        set.ttl_secs.unwrap_or_default(),
                        values(set),
                    )
                };
                listed.iter().map(record).collect::<Vec<Record>>()
            }
            Look::Api { endpoint, root_secret } => {
                let client = route53(
                    endpoint,
                    Credentials::new(account.id, root_secret, None, None, "test"),
                );
                let listed = client
                    .list_resource_record_sets()
                    .hosted_zone_id(&account.zone)
                    .max_items(300)
                    .send()
                    .await
                    .unwrap();
                let values = |set: &ResourceRecordSet| {
                    set.resource_records().iter().map(|r| r.value().to_owned()).collect()
                };
                let record = |set: &ResourceRecordSet| {
                    (
                        set.name().to_owned(),
                        set.r#type().as_str().to_owned(),
                        set.ttl().unwrap_or_default(),
                        values(set),
                    )
                };
                listed.resource_record_sets().iter().map(record).collect()
            }
        };
        records.iter_mut().for_each(|record| record.3.sort());
        records
    }

    /// Creates a record set of type A in the environment's zone, as another writer would.
    pub async fn write_foreign(&self, environment: &str, name: &str, address: &str) {
        let account = self.account(environment);
        match &self.look {
            Look::Emulator(control) => {
                let set = RawRecordSet {
                    name: name.into(),
                    rtype: "A".into(),
                    ttl_secs: Some(60),
                    values: vec![address.into()],
                    ..RawRecordSet::default()
                };
                let change = RecordChange { action: emulator::ChangeAction::Create, set };
                control.foreign_write(&ZoneId::parse(&account.zone).unwrap(), &[change]).unwrap();
            }
            Look::Api { endpoint, root_secret } => {
                let client = route53(
                    endpoint,
                    Credentials::new(account.id, root_secret, None, None, "test"),
                );
                let value = ResourceRecord::builder().value(address).build().unwrap();
                let set = ResourceRecordSet::builder()
                    .name(name)
                    .r#type(RrType::A)
                    .ttl(60)
                    .resource_records(value);
                let change = Change::builder()
                    .action(ChangeAction::Create)
                    .resource_record_set(set.build().unwrap());
                let batch =
                    ChangeBatch::builder().changes(change.build().unwrap()).build().unwrap();
                client
                    .change_resource_record_sets()
                    .hosted_zone_id(&account.zone)
                    .change_batch(batch)
                    .send()
                    .await
                    .unwrap();
            }
        }
    }
}

/// The record sets of a zone that are not its own SOA and NS.
pub async fn records_beside_the_apex(aws: &Aws, environment: &str) -> Vec<Record> {
    let own = |rtype: &str| rtype == "SOA" || rtype == "NS";
    aws.records(environment).await.into_iter().filter(|set| !own(&set.1)).collect()
}

/// Their names.
pub async fn names_beside_the_apex(aws: &Aws, environment: &str) -> Vec<String> {
    records_beside_the_apex(aws, environment).await.into_iter().map(|set| set.0).collect()
}

pub fn role(account: &str) -> String {
    format!("arn:aws:iam::{account}:role/zonefold")
}

pub fn external_id(environment: &str) -> String {
    format!("external-id-of-{environment}")
}

/// A client of Route 53 that tries once.
pub fn route53(endpoint: &str, credentials: Credentials) -> aws_sdk_route53::Client {
    let config = aws_sdk_route53::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .build();
    aws_sdk_route53::Client::from_conf(config)
}

/// Our own emulator with these accounts: signatures, roles and external ids are checked, the published limits hold.
pub async fn emulated() -> (EmulatorHandle, Aws) {
    emulated_with(vec![ZoneConfig::public(DnsName::parse(DEV_ZONE).unwrap())]).await
}

/// The same, with these zones in the account `dev`; one of them has its usual zone's name.
pub async fn emulated_with(dev_zones: Vec<ZoneConfig>) -> (EmulatorHandle, Aws) {
    const KEY_ID: &str = "AKIAIOSFODNN7EXAMPLE";
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    let mut operations = AccountConfig::new(AccountId::parse(OPERATIONS).unwrap());
    operations.access_keys = vec![AccessKeyConfig {
        id: KEY_ID.to_owned(),
        secret: Secret::new(SECRET),
        user: "broker".to_owned(),
    }];
    let mut all = vec![operations];
    for (id, environment, zone_name) in ACCOUNTS {
        let mut account = AccountConfig::new(AccountId::parse(id).unwrap());
        account.limits = LimitsConfig::of(LimitsProfile::Published2026);
        account.zones = if id == DEV {
            dev_zones.clone()
        } else {
            vec![ZoneConfig::public(DnsName::parse(zone_name).unwrap())]
        };
        account.roles = vec![RoleConfig {
            trusted_principals: vec![format!("arn:aws:iam::{OPERATIONS}:user/broker")],
            external_id: Some(external_id(environment)),
            allowed_actions: ["ChangeResourceRecordSets", "Get*", "List*"]
                .map(|action| format!("route53:{action}"))
                .into(),
            ..RoleConfig::new(role(id))
        }];
        all.push(account);
    }
    let config = EmulatorConfig {
        accounts: all,
        process_ms: 20,
        propagation_ms: 50,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(config).await.unwrap();
    let control = emulator.control();
    let look = Look::Emulator(control.clone());
    let zone_of =
        |name: &str| control.zone_named(&DnsName::parse(name).unwrap()).unwrap().to_string();
    let aws = Aws::new(emulator.bound().aws_addr, (KEY_ID, SECRET), look, zone_of).await;
    (emulator, aws)
}

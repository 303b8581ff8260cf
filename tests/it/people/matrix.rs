//! Who may call which route on whose things: the table of docs/people.md, cell by cell.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zonefold::adapters::route53::AwsOptions;
use zonefold::agent::manifests::ManifestOptions;
use zonefold::agent::sources::ExtractOptions;
use zonefold::agent::{
    Agent, AgentConfig, BrokerAddress, ClusterUid, KeepAlive, Material, Objects,
};
use zonefold::app::broker::BrokerOptions;
use zonefold::core::governance::actor::Actor;
use zonefold::core::people::credential::{Credential, CredentialKind, SignedInPerson, TokenScope};
use zonefold::core::time::Millis;
use zonefold::emulator::EmulatorHandle;

use super::site::{PeopleSite, ROOT};
use super::tokens::session;
use crate::identity::site::options;
use crate::support::aws::{self, Aws};
use crate::support::folder::TestFolder;
use crate::support::manifests::service;
use crate::support::network::free_address;
use crate::support::wait::eventually;

const PAGE: &str = include_str!("../../../docs/people.md");

/// Pay has names in the environment dev, and shop in prod; one name of each is held.
const RULES: &str = "\
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: pay }
spec: { owners: { groups: [pay-leads] }, members: { groups: [pay] } }
---
apiVersion: zonefold.dev/v1
kind: Team
metadata: { name: shop }
spec: { owners: { groups: [shop-leads] } }
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: pay }
spec: { zone: dev.example.com, names: [\"*.pay.dev.example.com\"], team: pay }
---
apiVersion: zonefold.dev/v1
kind: Ownership
metadata: { name: shop }
spec: { zone: prod.example.com, names: [\"*.shop.prod.example.com\"], team: shop }
---
apiVersion: zonefold.dev/v1
kind: Guard
metadata: { name: looked-at }
spec: { approvals: 200, review: { names: [held.pay.dev.example.com, held.shop.prod.example.com] } }
";
const OWN_NAME: &str = "www.pay.dev.example.com";
const FOREIGN_NAME: &str = "www.shop.prod.example.com";

/// The columns of the table.
const ROLES: [&str; 8] =
    ["nobody", "guest", "viewer", "member", "owner", "machine", "operator", "admin"];

/// One request, and what its answer shows if the caller may see it.
struct Call {
    path: String,
    body: Value,
    shows: String,
}

impl Call {
    fn to(path: impl Into<String>) -> Self {
        Self { path: path.into(), body: Value::Null, shows: String::new() }
    }

    fn with(path: impl Into<String>, body: Value) -> Self {
        Self { body, ..Self::to(path) }
    }

    fn showing(path: impl Into<String>, shows: impl Into<String>) -> Self {
        Self { shows: shows.into(), ..Self::to(path) }
    }
}

/// What is handed over in an environment.
fn handover(environment: &str) -> Value {
    let (from, to) = (format!("{environment}-east"), format!("{environment}-west"));
    json!({ "from": from, "to": to, "mode": "cutover", "reason": "a test" })
}

/// How a route is tried.
enum Probe {
    /// It is about nobody's things.
    Once(Call),
    /// On own things, and on those of others.
    Things { own: Call, foreign: Call },
}

/// A caller with one role.
struct Role {
    name: &'static str,
    token: String,
    user: String,
}

struct World {
    site: PeopleSite,
    _emulator: EmulatorHandle,
    stop: CancellationToken,
    /// Of the environments dev and prod.
    zones: [String; 2],
    holds: [String; 2],
    requests: [String; 2],
    batches: [String; 2],
    handovers: [String; 2],
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn run_agent(site: &PeopleSite, cluster: &str, manifests: &str, stop: &CancellationToken) {
    let folder = site.folder.folder(cluster);
    std::fs::write(folder.join("all.yaml"), manifests).unwrap();
    let config = AgentConfig {
        cluster: cluster.to_owned(),
        kube_system_uid: ClusterUid::Given(Uuid::new_v4().to_string()),
        broker: BrokerAddress {
            url: format!("http://{}", site.grpc),
            token: Some(Material::text("a-token-of-the-agents-of-this-test")),
            ca: None,
            certificate: None,
            keep_alive: KeepAlive::default(),
        },
        objects: Objects::Manifests(ManifestOptions {
            path: folder,
            rescan: Duration::from_secs(60),
            extract: ExtractOptions::default(),
        }),
        listen: None,
    };
    tokio::spawn(Agent::build(config).await.unwrap().run(stop.clone()));
}

impl World {
    async fn start() -> Self {
        let (emulator, aws): (EmulatorHandle, Aws) = aws::emulated().await;
        let folder = TestFolder::new();
        folder.folder("matrix");
        folder.write("matrix/rules.yaml", RULES);
        let rules = folder.path("matrix");
        let endpoint = format!("http://{}", aws.tap.address);
        let options = BrokerOptions {
            aws: AwsOptions::emulator(&endpoint, &aws.key_id, &aws.secret),
            ..options()
        };
        let api = json!({ "open_metrics": false });
        let clusters = ["dev-east", "dev-west", "prod-east", "prod-west"]
            .map(|name| json!({ "name": name, "environment": name.split('-').next().unwrap() }));
        let more = json!({ "clusters": clusters, "accounts": aws.configured(), "rules": [rules], "api": api });
        let site =
            PeopleSite::start_with(folder, free_address(), "http://127.0.0.1:9", &more, options)
                .await;
        let stop = CancellationToken::new();
        for (cluster, of) in
            [("dev-east", "pay.dev.example.com"), ("prod-east", "shop.prod.example.com")]
        {
            let www = service("www", &format!("www.{of}"), "192.0.2.1");
            let held = service("held", &format!("held.{of}"), "192.0.2.2");
            run_agent(&site, cluster, &format!("{www}\n---\n{held}"), &stop).await;
        }
        let zones = ["dev", "prod"].map(|of| aws.account(of).zone.clone());
        let mut world = Self {
            site,
            _emulator: emulator,
            stop,
            holds: Default::default(),
            requests: Default::default(),
            batches: Default::default(),
            handovers: Default::default(),
            zones,
        };
        world.wait().await;
        for (index, environment) in ["dev", "prod"].into_iter().enumerate() {
            let staged = handover(environment);
            let staged = world.root(Method::POST, "/api/v1/handovers", staged).await;
            world.handovers[index] = staged["id"].as_str().unwrap().to_owned();
        }
        world
    }

    async fn root(&self, method: Method, path: &str, body: Value) -> Value {
        let answer = self.site.with_token(method, path, ROOT, &body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// Until one name of each zone is published, and one is held; then somebody has said no to each.
    async fn wait(&mut self) {
        let of_zone = |list: &Value, zone: &str| {
            let items = list["items"].as_array().unwrap();
            items.iter().find(|item| item["zone"] == zone).cloned()
        };
        for index in 0..2 {
            let zone = self.zones[index].clone();
            let (hold, change) = eventually("a change is made and another one held", async || {
                let holds = self.root(Method::GET, "/api/v1/holds", Value::Null).await;
                let changes = self.root(Method::GET, "/api/v1/changes", Value::Null).await;
                let both = of_zone(&holds, &zone).zip(of_zone(&changes, &zone));
                both.ok_or_else(|| format!("{holds} {changes}"))
            })
            .await;
            self.batches[index] = change["batch"].as_str().unwrap().to_owned();
            self.holds[index] = hold["digest"].as_str().unwrap().to_owned();
            let path = format!("/api/v1/holds/{}/deny", self.holds[index]);
            let request = self.root(Method::POST, &path, json!({ "comment": "not yet" })).await;
            self.requests[index] = request["id"].as_str().unwrap().to_owned();
        }
    }

    /// A caller of a role.
    async fn role(&self, name: &'static str) -> Role {
        let user = format!("{name}@example.com");
        let groups: &[&str] = match name {
            "guest" => &["guests"],
            "member" => &["pay"],
            "owner" => &["pay-leads"],
            "operator" => &["platform"],
            _ => &[],
        };
        let token = match name {
            "nobody" => String::new(),
            "machine" => {
                let wanted = json!({
                    "name": "machine", "kind": "machine", "teams": ["pay"], "team_role": "owner",
                });
                let made =
                    self.site.with_token(Method::POST, "/api/v1/tokens", ROOT, &wanted).await;
                made.json()["secret"].as_str().unwrap().to_owned()
            }
            "admin" => session(&self.site, "root@example.com", groups).await,
            _ => session(&self.site, &user, groups).await,
        };
        let user = if name == "admin" { "root@example.com".to_owned() } else { user };
        Role { name, token, user }
    }

    /// A new token: of a person, or of a machine that acts for a team.
    async fn token_of(&self, holder: Result<&str, &str>) -> String {
        let now = self.site.handle.clock.now();
        let id = Uuid::new_v4();
        let teams = match holder {
            Ok(_) => [].into(),
            Err(team) => [team.parse().unwrap()].into(),
        };
        let token = Credential {
            id,
            kind: if holder.is_ok() { CredentialKind::Person } else { CredentialKind::Machine },
            name: id.to_string(),
            person: holder
                .ok()
                .map(|user| SignedInPerson { user: user.to_owned(), ..Default::default() }),
            scope: Some(TokenScope { teams, ..TokenScope::default() }),
            made_by: Actor::Broker,
            made_at: now,
            ends_at: now + Millis::from_secs(600),
            revoked_at: None,
            used_at: None,
        };
        let hash = zonefold::api::secret::secret_hash(&id.to_string());
        assert!(self.site.handle.store.add_credential(&hash, &token).await.unwrap());
        id.to_string()
    }

    /// How an operation is tried by a caller.
    async fn probe(&self, operation: &str, role: &Role) -> Probe {
        let things = |own, foreign| Probe::Things { own, foreign };
        // The same path, whose answer shows the one or the other.
        let listed = |path: &str, [own, foreign]: [&str; 2]| {
            things(Call::showing(path, own), Call::showing(path, foreign))
        };
        let each = |path: &str, [own, foreign]: [&str; 2]| {
            things(Call::to(path.replace("{}", own)), Call::to(path.replace("{}", foreign)))
        };
        let holds = [self.holds[0].as_str(), self.holds[1].as_str()];
        let handovers = [self.handovers[0].as_str(), self.handovers[1].as_str()];
        let requests = [self.requests[0].as_str(), self.requests[1].as_str()];
        let zones = [self.zones[0].as_str(), self.zones[1].as_str()];
        let clusters = ["dev-east", "prod-east"];
        let accounts = [aws::DEV, aws::PROD];
        match operation {
            "alive" => Probe::Once(Call::to("/healthz")),
            "ready" => Probe::Once(Call::to("/readyz")),
            "metrics" => Probe::Once(Call::to("/metrics")),
            "get_me" => Probe::Once(Call::to("/api/v1/me")),
            "get_version" => Probe::Once(Call::to("/api/v1/version")),
            "sign_in" => Probe::Once(Call::to("/auth/sign-in")),
            "sign_in_callback" => Probe::Once(Call::to("/auth/callback")),
            "exchange_code" => {
                let body = json!({ "code": "zonefold_none", "code_verifier": "none" });
                Probe::Once(Call::with("/auth/exchange", body))
            }
            "list_clusters" => listed("/api/v1/clusters", clusters),
            "get_cluster" => each("/api/v1/clusters/{}", clusters),
            "list_accounts" => listed("/api/v1/accounts", accounts),
            "get_account" => each("/api/v1/accounts/{}", accounts),
            "list_zones" => listed("/api/v1/zones", zones),
            "get_zone" => each("/api/v1/zones/{}", zones),
            "list_records" => each("/api/v1/zones/{}/records", zones),
            "list_endpoints" => listed("/api/v1/endpoints", clusters),
            "list_changes" => listed("/api/v1/changes", zones),
            "why_name" => things(
                Call::showing(format!("/api/v1/names/{OWN_NAME}"), zones[0]),
                Call::showing(format!("/api/v1/names/{FOREIGN_NAME}"), zones[1]),
            ),
            "reroute_name" => each("/api/v1/names/{}/reroute", [OWN_NAME, FOREIGN_NAME]),
            "list_rules" => listed("/api/v1/rules?kind=teams", ["\"pay\"", "\"shop\""]),
            "get_rule" => each("/api/v1/rules/teams/{}", ["pay", "shop"]),
            "get_rule_set" => Probe::Once(Call::to("/api/v1/rules/set")),
            "change_rules" => {
                let grant = |zone: &str, name: &str| {
                    let spec = json!({
                        "zone": zone, "names": [name], "clusters": { "names": ["dev-east"] },
                    });
                    let document = json!({
                        "apiVersion": "zonefold.dev/v1", "kind": "Grant",
                        "metadata": { "name": "new" }, "spec": spec,
                    });
                    Call::with("/api/v1/rules?preview=true", json!({ "put": [document] }))
                };
                things(grant(aws::DEV_ZONE, OWN_NAME), grant("prod.example.com", FOREIGN_NAME))
            }
            "list_audit" => Probe::Once(Call::to("/api/v1/audit")),
            "get_audit_chain" => Probe::Once(Call::to("/api/v1/audit/chain")),
            "get_batch" => {
                each("/api/v1/batches/{}", [self.batches[0].as_str(), self.batches[1].as_str()])
            }
            "list_notifications" => Probe::Once(Call::to("/api/v1/notifications")),
            // Whoever may is told that this is no id.
            "resend_notification" => {
                Probe::Once(Call::with("/api/v1/notifications/none/resend", json!({})))
            }
            "list_holds" => listed("/api/v1/holds", holds),
            "get_hold" => each("/api/v1/holds/{}", holds),
            "list_hold_units" => each("/api/v1/holds/{}/units", holds),
            "approve_hold" | "deny_hold" => {
                let verb = operation.trim_end_matches("_hold");
                let call =
                    |hold: &str| Call::with(format!("/api/v1/holds/{hold}/{verb}"), json!({}));
                things(call(holds[0]), call(holds[1]))
            }
            "list_handovers" => listed("/api/v1/handovers", handovers),
            "get_handover" => each("/api/v1/handovers/{}", handovers),
            "list_handover_names" => each("/api/v1/handovers/{}/names", handovers),
            "stage_handover" => {
                let call = |of: &str| Call::with("/api/v1/handovers", handover(of));
                things(call("dev"), call("prod"))
            }
            "switch_handover" => each("/api/v1/handovers/{}/switch", handovers),
            "abort_handover" => {
                let call = |id: &str| {
                    Call::with(
                        format!("/api/v1/handovers/{id}/abort"),
                        json!({ "reason": "a test" }),
                    )
                };
                things(call(handovers[0]), call(handovers[1]))
            }
            "list_requests" => listed("/api/v1/requests", requests),
            "get_request" => each("/api/v1/requests/{}", requests),
            "list_tokens" => {
                let (own, foreign) = self.tokens(role).await;
                listed("/api/v1/tokens?limit=1000", [&own, &foreign])
            }
            "revoke_token" => {
                let (own, foreign) = self.tokens(role).await;
                each("/api/v1/tokens/{}", [&own, &foreign])
            }
            "make_token" => {
                let token = |team: &str| {
                    let name = Uuid::new_v4().to_string();
                    let wanted = json!({ "name": name, "kind": "machine", "teams": [team] });
                    Call::with("/api/v1/tokens", wanted)
                };
                things(token("pay"), token("shop"))
            }
            other => panic!("say how {other} is tried, and write its row into docs/people.md"),
        }
    }

    /// A token of the caller's own, or of their team's; and one of others.
    async fn tokens(&self, role: &Role) -> (String, String) {
        let own = match role.name {
            "owner" | "machine" => self.token_of(Err("pay")).await,
            _ => self.token_of(Ok(&role.user)).await,
        };
        (own, self.token_of(Ok("somebody-else@example.com")).await)
    }

    /// Whether the caller may.
    async fn may(&self, method: &Method, call: &Call, role: &Role) -> bool {
        let site = &self.site;
        let answer = match role.token.as_str() {
            "" => {
                let headers = [("content-type", "application/json")];
                let body = if call.body.is_null() { String::new() } else { call.body.to_string() };
                let url = format!("{}{}", site.url, call.path);
                super::browser::Browser::default().ask(method.clone(), &url, &headers, &body).await
            }
            token => site.with_token(method.clone(), &call.path, token, &call.body).await,
        };
        match answer.status {
            401 | 403 | 404 => false,
            // A second word of the same person is no first one.
            200 | 201 | 400 | 409 | 503 => answer.body.contains(&call.shows),
            other => panic!("{method} {}: {other} {}", call.path, answer.body),
        }
    }

    async fn cell(&self, method: &Method, operation: &str, role: &Role) -> &'static str {
        if operation == "sign_out" {
            // It ends a session, so it is tried with one of its own.
            let token = match role.token.as_str() {
                "" => String::new(),
                _ => session(&self.site, &role.user, &[]).await,
            };
            let once = Role { name: role.name, token, user: role.user.clone() };
            let may = self.may(method, &Call::to("/auth/sign-out"), &once).await;
            return if may { "yes" } else { "no" };
        }
        match self.probe(operation, role).await {
            Probe::Once(call) if self.may(method, &call, role).await => "yes",
            Probe::Once(_) => "no",
            Probe::Things { own, foreign } => {
                let (own, foreign) =
                    (self.may(method, &own, role).await, self.may(method, &foreign, role).await);
                match (own, foreign) {
                    (true, true) => "all",
                    (true, false) => "own",
                    (false, false) => "no",
                    (false, true) => panic!("{operation}: {} may what is others'", role.name),
                }
            }
        }
    }
}

/// The table of the page: the cells of each route.
fn written() -> BTreeMap<String, Vec<String>> {
    let table = PAGE.split("## Who may call what").nth(1).unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = |row: &str| {
        let (route, cells) = row.split_once("` |").unwrap();
        let cells = cells.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned());
        (route.to_owned(), cells.collect())
    };
    rows.map(cells).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_may_call_every_route_as_the_page_says() {
    let world = World::start().await;
    let mut roles = vec![];
    for name in ROLES {
        roles.push(world.role(name).await);
    }
    let description = serde_json::to_value(zonefold::api::openapi()).unwrap();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let operation = operation["operationId"].as_str().unwrap();
            let method: Method = method.to_uppercase().parse().unwrap();
            let mut cells = vec![];
            for role in &roles {
                cells.push(world.cell(&method, operation, role).await.to_owned());
            }
            found.insert(format!("{method} {path}"), cells);
        }
    }
    let written = written();
    let row = |route: &str, cells: &[String]| format!("| `{route}` | {} |", cells.join(" | "));
    let wrong: Vec<String> = found
        .iter()
        .filter(|(route, cells)| written.get(*route) != Some(cells))
        .map(|(route, cells)| row(route, cells))
        .collect();
    assert!(wrong.is_empty(), "docs/people.md is to say:\n{}", wrong.join("\n"));
    let routes =
        |table: &BTreeMap<String, Vec<String>>| table.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(routes(&written), routes(&found), "the page names routes that are not there");
}

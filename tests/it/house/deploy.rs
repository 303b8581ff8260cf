//! The files under `deploy` are understood by the tools for which they are meant.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};
use zonefold::cli::Cli;
use zonefold::config::Config;
use zonefold::core::limits::budget::ApiAction;
use zonefold::emulator::EmulatorConfig;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(deploy().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The documents of a YAML file.
fn documents(path: &str) -> Vec<Value> {
    let text = text_of(path);
    text.split("\n---\n")
        .map(|document| {
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{path}: {error}"))
        })
        .collect()
}

fn json_of(path: &str) -> Value {
    serde_json::from_str(&text_of(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn files(extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["aws", "compose", "kubernetes"] {
        for entry in std::fs::read_dir(deploy().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(extension) {
                found.push(format!("{folder}/{name}"));
            }
        }
    }
    found
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(one) => vec![one.clone()],
        _ => value
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect(),
    }
}

/// The arguments of our binary in a compose service or a container, with the role first.
fn started_with(container: &Value) -> Vec<String> {
    let key = if container["args"].is_null() { "command" } else { "args" };
    std::iter::once("zonefold".to_owned()).chain(strings(&container[key])).collect()
}

fn manifest<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it =
        |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
    documents.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

#[test]
fn every_file_can_be_read() {
    let (yaml, json) = (files(".yaml"), files(".json"));
    assert!(yaml.len() >= 6 && json.len() >= 5, "{yaml:?} {json:?}");
    yaml.iter().for_each(|path| assert!(!documents(path).is_empty()));
    for path in json {
        assert_eq!(json_of(&path)["Version"], "2012-10-17", "{path}");
    }
}

#[test]
fn the_broker_takes_its_configurations() {
    let kubernetes = documents("kubernetes/broker.yaml");
    let config = manifest(&kubernetes, "ConfigMap", "zonefold-broker")["data"]["config.yaml"]
        .as_str()
        .unwrap()
        .to_owned();
    for text in [config, text_of("compose/broker.yaml")] {
        let config = Config::parse(&text, "config.yaml").unwrap_or_else(|error| panic!("{error}"));
        assert!(
            !config.accounts.is_empty()
                && config.accounts.iter().all(|account| account.external_id.is_some())
        );
    }
}

#[test]
fn the_emulator_takes_its_configuration_and_lets_the_broker_in() {
    let emulator: EmulatorConfig =
        serde_saphyr::from_str(&text_of("compose/emulator.yaml")).unwrap();
    emulator.validate().unwrap();
    let broker = Config::parse(&text_of("compose/broker.yaml"), "broker.yaml").unwrap();
    for account in &broker.accounts {
        let emulated = emulator
            .accounts
            .iter()
            .find(|emulated| emulated.id == account.id)
            .expect("an emulated account");
        let role = emulated
            .roles
            .iter()
            .find(|role| role.arn == account.role_arn.as_ref().unwrap().as_str())
            .expect("a role");
        assert_eq!(role.external_id.as_deref(), account.external_id.as_ref().map(|id| id.expose()));
        let mut allowed: Vec<String> = role.allowed_actions.clone();
        allowed.sort();
        assert_eq!(allowed, our_actions());
    }
    let compose = &documents("compose/compose.yaml")[0];
    let key = &emulator.accounts[0].access_keys[0];
    let environment = &compose["services"]["broker"]["environment"];
    assert_eq!(environment["AWS_ACCESS_KEY_ID"], key.id.as_str());
    assert_eq!(environment["AWS_SECRET_ACCESS_KEY"], key.secret.expose());
    assert_eq!(environment["AWS_ENDPOINT_URL"], format!("http://{}", emulator.aws_listen));
}

fn our_actions() -> Vec<String> {
    let mut actions: Vec<String> =
        ApiAction::ALL.iter().map(|action| format!("route53:{}", action.as_str())).collect();
    actions.sort();
    actions
}

#[test]
fn the_roles_allow_what_the_broker_calls_and_nothing_else() {
    let template = documents("aws/account-role.cfn.yaml").remove(0);
    let role = &template["Resources"]["Role"]["Properties"];
    for policy in [
        json_of("aws/account-role-policy.json"),
        json_of("aws/account-role-policy-narrow.json"),
        role["Policies"][0]["PolicyDocument"].clone(),
    ] {
        let statements = policy["Statement"].as_array().unwrap();
        let mut allowed: Vec<String> =
            statements.iter().flat_map(|statement| strings(&statement["Action"])).collect();
        allowed.sort();
        assert_eq!(allowed, our_actions());
        let changing = statements.iter().find(|statement| {
            strings(&statement["Action"]) == ["route53:ChangeResourceRecordSets"]
        });
        let actions = &changing.unwrap()["Condition"]["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsActions"];
        assert_eq!(*actions, json!(["CREATE", "DELETE"]));
    }
    for trust in [json_of("aws/account-role-trust.json"), role["AssumeRolePolicyDocument"].clone()]
    {
        let assume = &trust["Statement"][0];
        assert_eq!(assume["Action"], "sts:AssumeRole");
        assert!(!assume["Condition"]["StringEquals"]["sts:ExternalId"].is_null());
    }
}

#[test]
fn compose_starts_every_role_with_arguments_that_it_has() {
    let compose = documents("compose/compose.yaml").remove(0);
    for role in ["broker", "agent", "emulator"] {
        let arguments = started_with(&compose["services"][role]);
        assert_eq!(arguments[1], role);
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{role}: {error}"));
    }
}

#[test]
fn kubernetes_starts_broker_and_agent_with_arguments_that_they_have() {
    for role in ["broker", "agent"] {
        let path = format!("kubernetes/{role}.yaml");
        let documents = documents(&path);
        let pod = &manifest(&documents, "Deployment", &format!("zonefold-{role}"))["spec"]["template"]
            ["spec"];
        let container = pod["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|container| container["name"] == role)
            .unwrap();
        let mut arguments = started_with(container);
        // The variables that are set are those of options that exist.
        let cli = Cli::command();
        let options: BTreeMap<&str, &str> = cli
            .find_subcommand(role)
            .unwrap()
            .get_arguments()
            .filter_map(|argument| Some((argument.get_env()?.to_str()?, argument.get_long()?)))
            .collect();
        let text = text_of(&path);
        let literals = text
            .split("--from-literal=ZONEFOLD_")
            .skip(1)
            .map(|rest| rest.split('=').next().unwrap().to_owned());
        let direct = strings_at(&container["env"], "name")
            .into_iter()
            .filter_map(|name| name.strip_prefix("ZONEFOLD_").map(str::to_owned));
        for name in literals.chain(direct) {
            let variable = format!("ZONEFOLD_{name}");
            let option = options
                .get(variable.as_str())
                .unwrap_or_else(|| panic!("{path}: nobody reads {variable}"));
            arguments.push(format!("--{option}=x"));
        }
        Cli::try_parse_from(&arguments).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

fn strings_at(list: &Value, key: &str) -> BTreeSet<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|item| item[key].as_str().map(str::to_owned))
        .collect()
}

#[test]
fn pods_are_confined_and_whole() {
    for role in ["broker", "agent"] {
        let documents = documents(&format!("kubernetes/{role}.yaml"));
        let pod = &manifest(&documents, "Deployment", &format!("zonefold-{role}"))["spec"]["template"]
            ["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let volumes = strings_at(&pod["volumes"], "name");
        for container in pod["containers"].as_array().unwrap() {
            let name = &container["name"];
            let context = &container["securityContext"];
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{name}");
            let missing: Vec<String> = strings_at(&container["volumeMounts"], "name")
                .difference(&volumes)
                .cloned()
                .collect();
            assert!(missing.is_empty(), "{name} mounts {missing:?}");
        }
        let ours = pod["containers"]
            .as_array()
            .unwrap()
            .iter()
            .find(|container| container["name"] == role)
            .unwrap();
        assert_eq!(ours["livenessProbe"]["httpGet"]["path"], "/healthz");
        assert_eq!(ours["readinessProbe"]["httpGet"]["path"], "/readyz");
    }
}

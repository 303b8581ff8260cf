//! The broker's configuration.

use zonefold::config::{Config, ConfigError, SourceLocation};

/// The bytes are the file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "file.yaml") {
        Ok(config) => check_config(&config),
        Err(error) => check_error(&error, text),
    }
}

/// A configuration that is taken is taken again as it is shown, but for what is never shown.
fn check_config(config: &Config) {
    let mut shown = serde_json::to_value(config).unwrap();
    shown["store"] = config.store.expose().into();
    if let Some(token) = &config.agents.token {
        shown["agents"]["token"] = token.expose().into();
    }
    for (number, account) in config.accounts.iter().enumerate() {
        if let Some(external_id) = &account.external_id {
            shown["accounts"][number]["external_id"] = external_id.expose().into();
        }
    }
    let json = shown.to_string();
    let again =
        Config::parse(&json, "shown.json").unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(again, *config);
}

/// Every problem has a place in the text and a remedy, and all are said.
fn check_error(error: &ConfigError, text: &str) {
    let problems = error.problems();
    assert!(!problems.is_empty());
    let lines = 1 + text.matches(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() as u64;
    let said = error.to_string();
    for problem in problems {
        assert!(!problem.reason.is_empty() && !problem.remedy.is_empty());
        assert!(said.contains(&problem.reason) && said.contains(&problem.remedy));
        let SourceLocation::Text { line, column } = problem.place else {
            panic!("nothing was laid over the file: {problem:?}")
        };
        assert!((1..=lines + 1).contains(&line) && column >= 1, "{problem:?} in {lines} lines");
    }
}

//! Figures: quantiles, and how they are printed.

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{BenchOutput, Figure};

/// The figures in the wanted form.
///
/// # Errors
/// They are no JSON object, which would be a defect.
pub fn text(
    figures: &impl Serialize,
    explained: &[Figure],
    output: BenchOutput,
) -> anyhow::Result<String> {
    match output {
        BenchOutput::Json => Ok(serde_json::to_string(figures)?),
        BenchOutput::Table => Ok(table(&serde_json::to_value(figures)?, explained)),
    }
}

fn table(figures: &Value, explained: &[Figure]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["figure", "value", "goal", "meaning"]);
    for Figure { key, goal, meaning } in explained {
        let value = match figures.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        table.add_row([*key, value.as_str(), goal, meaning]);
    }
    table.to_string()
}

/// The value below or at which the given share of the samples lies (nearest rank); `None` if there are no samples.
pub fn quantile(sorted: &[i64], share: f64) -> Option<i64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Rounds to thousandths: more would be noise.
pub fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

/// Milliseconds as seconds.
pub fn seconds(span: zonefold::core::time::Millis) -> f64 {
    span.0 as f64 / 1_000.0
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Every figure is explained, and everything that is explained is a figure.
    pub fn assert_explained(figures: &impl Serialize, explained: &[Figure]) {
        let value = serde_json::to_value(figures).unwrap();
        let mut printed: Vec<&str> =
            value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut keys: Vec<&str> = explained.iter().map(|figure| figure.key).collect();
        printed.sort_unstable();
        keys.sort_unstable();
        assert_eq!(printed, keys);
    }

    #[test]
    fn a_quantile_is_a_sample_by_nearest_rank() {
        let sorted: Vec<i64> = (1..=200).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (Some(100), Some(198)));
        assert_eq!((quantile(&[7], 0.99), quantile(&[], 0.5)), (Some(7), None));
    }

    #[test]
    fn a_table_has_every_explained_figure() {
        let explained =
            [Figure { key: "ratio", goal: "at most 1.05", meaning: "how far from the limit" }];
        let text = table(&serde_json::json!({ "ratio": 1.01 }), &explained);
        assert!(
            text.contains("1.01") && text.contains("at most 1.05") && text.contains("how far"),
            "{text}"
        );
    }
}

//! `zonefold why NAME`: why a name is what it is.

use std::process::ExitCode;

use clap::Args;

use super::client::encode;
use super::output::{ReadArgs, Rows, section, table};
use super::status::{missing, state_of};
use crate::api::changes::{Change, Difference, Outcome};
use crate::api::endpoints::Endpoint;
use crate::api::names::{Name, NameInZone};
use crate::api::values::{EndpointSource, RecordSet};
use crate::core::dns::name::DnsName;
use crate::core::printable::printable;

/// Arguments of `zonefold why`.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// The DNS name, in any spelling
    #[arg(env = "ZONEFOLD_NAME", value_name = "NAME")]
    pub name: DnsName,
    /// The name as it was at this moment, such as 2026-07-30T09:15:00Z: by the journal, and by the rules of then
    #[arg(long, env = "ZONEFOLD_AT", value_name = "TIME")]
    pub at: Option<String>,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold why`; the exit code is 0 whenever the broker answered, since every name has an answer.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn run(args: WhyArgs) -> anyhow::Result<ExitCode> {
    let client = args.read.client()?;
    let at = args.at.as_deref().map_or_else(String::new, |at| format!("?at={}", encode(at)));
    let name: Name =
        client.get(&format!("/api/v1/names/{}{at}", encode(&args.name.to_string()))).await?;
    args.read.write(&name, render)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes an answer for people.
pub fn render(name: &Name, width: u16) -> String {
    let mut text = wrapped(&name.summary, usize::from(width));
    text.push('\n');
    text += &missing(&name.missing, width);
    for zone in &name.zones {
        in_zone(zone, width, &mut text);
    }
    if !name.unplaced.is_empty() {
        text += &section("IN NO ZONE", endpoints(name.unplaced.iter(), width));
    }
    if !name.changes.is_empty() {
        text += &section("LAST CHANGES", changes(&name.changes, width));
    }
    text
}

fn in_zone(zone: &NameInZone, width: u16, text: &mut String) {
    *text += &format!("ZONE {}\n", zone.zone);
    match &zone.holder {
        Some(holder) => {
            let since = holder.since.map_or_else(String::new, |since| format!(" since {since}"));
            *text += &format!("holder: {}{since}\n\n", holder.cluster);
        }
        None => *text += "holder: none\n\n",
    }
    if !zone.contributions.is_empty() {
        let contributed = zone.contributions.iter().map(|contribution| &contribution.endpoint);
        *text += &section("Contributions, the first to come first", endpoints(contributed, width));
    }
    *text += &section("Desired and observed", comparison(zone, width));
    for (heading, lines) in [
        ("On the way to Route 53", zone.pending.iter().map(difference).collect::<Vec<_>>()),
        ("Not sent", zone.blocked.clone()),
        (
            "Refused by Route 53",
            zone.refused
                .iter()
                .map(|refusal| format!("{} (tried again at {})", refusal.message, refusal.retry_at))
                .collect(),
        ),
    ] {
        if !lines.is_empty() {
            *text += &section(
                heading,
                lines
                    .iter()
                    .map(|line| format!("  {}", printable(line)))
                    .collect::<Vec<_>>()
                    .join("\n"),
            );
        }
    }
}

fn endpoints<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, width: u16) -> Rows {
    let mut rows = table(width, &["cluster", "object", "wants", "state", "why"]);
    for endpoint in endpoints {
        let (state, why) = state_of(endpoint);
        let wants = format!("{} {}", endpoint.key.record_type, endpoint.targets.join(", "));
        rows.add_row([endpoint.cluster.to_string(), endpoint.key.to_string(), wants, state, why]);
    }
    rows
}

/// Each record set once: the desired state and the observed one.
fn comparison(zone: &NameInZone, width: u16) -> Rows {
    let mut rows = table(width, &["desired", "observed", "whose"]);
    let mut unmatched: Vec<&RecordSet> = zone.desired.iter().collect();
    let same_key = |a: &RecordSet, b: &RecordSet| {
        a.record_type == b.record_type && a.set_identifier == b.set_identifier
    };
    for record in &zone.observed {
        let desired = unmatched
            .iter()
            .position(|set| same_key(set, &record.set))
            .map(|at| unmatched.remove(at));
        let whose = match (&record.owner, record.drift) {
            (_, Some(crate::core::planning::plan::Drift::Missing)) => {
                "ours, removed by another writer".to_owned()
            }
            (Some(owner), Some(_)) => format!("ours ({owner}), changed by another writer"),
            (Some(owner), None) => format!("ours ({owner})"),
            (None, _) => "foreign".to_owned(),
        };
        let desired = desired.map_or_else(|| "nothing".to_owned(), with_ttl);
        rows.add_row([desired, with_ttl(&record.set), whose]);
    }
    for set in unmatched {
        rows.add_row([with_ttl(set), "nothing".to_owned(), String::new()]);
    }
    rows
}

fn with_ttl(set: &RecordSet) -> String {
    set.ttl_secs.map_or_else(|| set.to_string(), |ttl_secs| format!("{set}, {ttl_secs} s"))
}

fn difference(change: &Difference) -> String {
    let show =
        |set: &Option<RecordSet>| set.as_ref().map_or_else(|| "nothing".to_owned(), with_ttl);
    format!("{} → {}", show(&change.before), show(&change.after))
}

fn changes(changes: &[Change], width: u16) -> Rows {
    let mut rows = table(width, &["planned at", "change", "because", "outcome"]);
    for change in changes {
        let cause = &change.difference.cause;
        let motive = serde_json::to_value(cause.motive)
            .ok()
            .and_then(|motive| motive.as_str().map(str::to_owned));
        let objects = |endpoints: &[EndpointSource]| {
            endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let others = cause.shared_with.iter();
        let others = others.map(|it| format!(", {} {}", it.cluster, objects(&it.endpoints)));
        let because = format!(
            "{} by {} {}{}",
            motive.unwrap_or_default(),
            cause.cluster,
            objects(&cause.endpoints),
            others.collect::<String>()
        );
        rows.add_row([
            change.planned_at.to_string(),
            difference(&change.difference),
            because,
            outcome(&change.outcome),
        ]);
    }
    rows
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Open => "under way".to_owned(),
        Outcome::Applied { change_id, .. } => format!("applied as {change_id}"),
        Outcome::FoundDone => "answer lost, found done".to_owned(),
        Outcome::Refused { code, message, .. } => format!("refused: {code}: {message}"),
        Outcome::ZoneDeleted => "answer lost, and the zone was deleted since".to_owned(),
        Outcome::NotApplied { reason } => format!("not applied: {reason}"),
    }
}

/// Breaks a paragraph between words.
fn wrapped(text: &str, width: usize) -> String {
    let (mut lines, mut column) = (String::new(), 0);
    for word in text.split_whitespace() {
        let chars = word.chars().count();
        if column > 0 && column + 1 + chars > width {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += chars;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paragraph_breaks_between_words_and_loses_none() {
        let text = "one two three four five";
        let lines = wrapped(text, 9);
        assert_eq!(lines, "one two\nthree\nfour five\n");
        assert_eq!(
            lines.split_whitespace().collect::<Vec<_>>(),
            text.split_whitespace().collect::<Vec<_>>()
        );
    }
}

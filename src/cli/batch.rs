//! `zonefold describe batch`: what one call changed, why, and by whose word.

use std::process::ExitCode;

use clap::Args;

use super::client::encode;
use super::output::{ReadArgs, section, table};
use crate::api::batches::BatchInfo;
use crate::api::changes::{Difference, Outcome};

/// Arguments of `zonefold describe batch`.
#[derive(Clone, Debug, Args)]
pub struct BatchArgs {
    /// The id of the batch, as changes, records and the audit show it
    #[arg(env = "ZONEFOLD_BATCH", value_name = "ID")]
    pub id: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Runs `zonefold describe batch`.
///
/// # Errors
/// There is no such batch; the broker cannot be reached, or refuses.
pub async fn describe(args: BatchArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/batches/{}", encode(&args.id));
    let batch: BatchInfo = args.read.client()?.get(&path).await?;
    args.read.write(&batch, render)?;
    Ok(ExitCode::SUCCESS)
}

fn render(batch: &BatchInfo, width: u16) -> String {
    let mut text = section(&format!("batch {}", batch.id), head(batch));
    let mut rows = table(width, &["name", "type", "before", "after", "why", "cluster", "objects"]);
    batch.changes.iter().for_each(|change| rows.add_row(cells(change)));
    text += &section("it changed", rows);
    if !batch.released_by.is_empty() {
        let mut rows = table(width, &["request", "wants", "by whose word", "why"]);
        for request in &batch.released_by {
            let words: Vec<&str> = request.approvals.iter().map(|word| word.by.as_str()).collect();
            rows.add_row([
                request.id.clone(),
                request.wants.clone(),
                words.join(", "),
                request.reason.clone(),
            ]);
        }
        text += &section("it was held, and let go by", rows);
    }
    text
}

fn head(batch: &BatchInfo) -> String {
    let mut lines = vec![format!(
        "zone {} ({}), account {}, planned at {}",
        batch.zone_name, batch.zone, batch.account, batch.planned_at
    )];
    lines.push(match &batch.outcome {
        Outcome::Open => "under way".to_owned(),
        Outcome::Applied { change_id, request_id } => format!(
            "applied: AWS's change {change_id}, request {}",
            request_id.as_deref().unwrap_or("unknown")
        ),
        Outcome::FoundDone => "its answer was lost, and what it would do was found done".to_owned(),
        Outcome::Refused { code, message, request_id } => format!(
            "refused with {code}: {message} (AWS's request {})",
            request_id.as_deref().unwrap_or("unknown")
        ),
        Outcome::ZoneDeleted => "its answer was lost, and its zone was deleted".to_owned(),
        Outcome::NotApplied { reason } => format!("not applied: {reason}"),
    });
    if let Some(set) = &batch.rules {
        let by = set.by.as_deref().map_or_else(String::new, |by| format!(", by {by}"));
        lines.push(format!("planned by set {} of the rules{by}", set.number));
    }
    lines.join("\n")
}

fn cells(change: &Difference) -> [String; 7] {
    let said = |set: &Option<crate::api::values::RecordSet>| {
        set.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string)
    };
    let objects: Vec<String> = change.cause.endpoints.iter().map(ToString::to_string).collect();
    [
        change.name.to_string(),
        change.record_type.to_string(),
        said(&change.before),
        said(&change.after),
        serde_json::to_value(change.cause.motive)
            .ok()
            .and_then(|word| word.as_str().map(str::to_owned))
            .unwrap_or_default(),
        change.cause.cluster.to_string(),
        objects.join(", "),
    ]
}

//! Notifications: those of `zonefold get notifications`, and `zonefold resend`.

use std::process::ExitCode;

use clap::Args;

use super::client::encode;
use super::output::{ReadArgs, table};
use crate::api::notifications::NotificationInfo;

/// Arguments of `zonefold resend`.
#[derive(Clone, Debug, Args)]
pub struct ResendArgs {
    /// The id of the notification, as zonefold get notifications shows it
    #[arg(env = "ZONEFOLD_NOTIFICATION", value_name = "ID")]
    pub id: String,
    /// Where the broker is, and how the answer is written.
    #[command(flatten)]
    pub read: ReadArgs,
}

/// Shows notifications; the exit code is 0 if there is one, else 1.
///
/// # Errors
/// The broker cannot be reached, refuses, or is none; or the answer cannot be written.
pub async fn list(read: &ReadArgs, state: Option<&str>) -> anyhow::Result<ExitCode> {
    let filters: Vec<(&str, &str)> = state.map(|state| ("state", state)).into_iter().collect();
    let listed =
        read.client()?.list::<NotificationInfo>("/api/v1/notifications", &filters, 1_000).await?;
    read.write(&listed.items, |items, width| match items.is_empty() {
        true => "there is no notification\n".to_owned(),
        false => {
            let mut rows =
                table(width, &["id", "at", "state", "about", "says", "failures", "last failure"]);
            for item in items {
                rows.add_row([
                    item.id.clone(),
                    item.at.to_string(),
                    item.state.clone(),
                    item.topic.clone(),
                    item.title.clone(),
                    item.failures.to_string(),
                    item.failure.clone().unwrap_or_default(),
                ]);
            }
            rows.to_string() + "\n"
        }
    })?;
    Ok(if listed.items.is_empty() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Runs `zonefold resend`.
///
/// # Errors
/// There is no such dead notification; the broker cannot be reached, or refuses.
pub async fn resend(args: ResendArgs) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/notifications/{}/resend", encode(&args.id));
    let info: NotificationInfo = args.read.client()?.post(&path).await?;
    args.read.write(&info, |info, _| format!("{} waits to be delivered\n", info.id))?;
    Ok(ExitCode::SUCCESS)
}

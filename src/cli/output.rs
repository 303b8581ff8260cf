//! What the commands that show something share: where the broker is, and how the answer is written.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::client::{BrokerUrl, Client, DEFAULT_BROKER};

/// Table for people or JSON for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// For programs: one object on one line.
    Json,
}

/// Arguments of every command that asks a broker.
#[derive(Clone, Debug, Args)]
pub struct ReadArgs {
    /// The HTTP address of the broker
    #[arg(long, env = "ZONEFOLD_BROKER", value_name = "URL", default_value = DEFAULT_BROKER)]
    pub broker: BrokerUrl,
    /// A file that holds a token of the broker's API, where it asks for one
    #[arg(long, env = "ZONEFOLD_API_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The certificate authority of the broker (PEM), for https; by default those that the system trusts
    #[arg(long, env = "ZONEFOLD_API_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How the answer is written
    #[arg(long, env = "ZONEFOLD_OUTPUT", value_enum, default_value_t)]
    pub output: OutputFormat,
    /// How many columns a table takes at most
    #[arg(long, env = "ZONEFOLD_WIDTH", value_name = "COLUMNS", default_value_t = 140, value_parser = clap::value_parser!(u16).range(40..))]
    pub width: u16,
}

impl ReadArgs {
    /// The broker's API as these arguments reach it.
    ///
    /// # Errors
    /// A file cannot be read, or what it holds cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        let read = |path: &PathBuf| {
            std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        let token =
            self.token_file.as_ref().map(read).transpose()?.map(String::from_utf8).transpose()?;
        let ca_pem = self.ca_file.as_ref().map(read).transpose()?;
        Ok(Client::new(self.broker.clone(), token.as_deref(), ca_pem.as_deref())?)
    }

    /// Writes an answer to standard output, in the form that was asked for.
    ///
    /// # Errors
    /// It cannot be written. A reader that has gone, such as `head`, is no error.
    pub fn write<T: Serialize>(
        &self,
        answer: &T,
        render: impl FnOnce(&T, u16) -> String,
    ) -> anyhow::Result<()> {
        write(self.output, self.width, answer, render)
    }
}

/// Writes an answer to standard output, as [`ReadArgs::write`] does.
///
/// # Errors
/// It cannot be written. A reader that has gone, such as `head`, is no error.
pub fn write<T: Serialize>(
    output: OutputFormat,
    width: u16,
    answer: &T,
    render: impl FnOnce(&T, u16) -> String,
) -> anyhow::Result<()> {
    let text = match output {
        OutputFormat::Table => render(answer, width),
        OutputFormat::Json => format!("{}\n", serde_json::to_string(answer)?),
    };
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A table with headers that wraps what is too long.
pub fn table(width: u16, headers: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(headers.to_vec());
    table
}

/// A heading, and what stands below it.
pub fn section(heading: &str, body: impl std::fmt::Display) -> String {
    format!("{heading}\n{body}\n\n")
}

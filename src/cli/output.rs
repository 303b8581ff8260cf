//! The shared parts of the commands that show something: where the broker is, and how the answer is written.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::client::{BrokerUrl, Client, DEFAULT_BROKER};
use super::credentials::{self, KeptCredentials};
use crate::config::Secret;
use crate::core::printable::{printable, printable_lines};

/// Moves the cursor home and clears the screen (ECMA-48 CUP, ED).
const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[2J";

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
    /// Where zonefold login keeps what it got; by default in the home folder
    #[arg(long, env = "ZONEFOLD_CREDENTIALS_FILE", value_name = "FILE")]
    pub credentials_file: Option<PathBuf>,
    /// The certificate authority of the broker (PEM), for https; by default those that the system trusts
    #[arg(long, env = "ZONEFOLD_API_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// How the answer is written
    #[arg(short, long, env = "ZONEFOLD_OUTPUT", value_enum, default_value_t)]
    pub output: OutputFormat,
    /// How many columns a table takes at most
    #[arg(long, env = "ZONEFOLD_WIDTH", value_name = "COLUMNS", default_value_t = 140, value_parser = clap::value_parser!(u16).range(40..))]
    pub width: u16,
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

impl ReadArgs {
    /// The broker's API as these arguments reach it.
    ///
    /// # Errors
    /// A file cannot be read, or what it holds cannot be used.
    pub fn client(&self) -> anyhow::Result<Client> {
        let token = match &self.token_file {
            Some(path) => Some(Secret::new(String::from_utf8(read(path)?)?)),
            None => self.kept_secret()?,
        };
        let token = token.as_ref().map(Secret::expose);
        Ok(Client::new(self.broker.clone(), token, self.read_ca()?.as_deref())?)
    }

    /// What `zonefold login` kept for the broker.
    fn kept_secret(&self) -> anyhow::Result<Option<Secret>> {
        let path = self.credentials_file.clone().or_else(credentials::usual_file);
        match path {
            Some(path) => Ok(KeptCredentials::read(&path)?.secret(&self.broker)),
            None => Ok(None),
        }
    }

    /// Where that is kept.
    ///
    /// # Errors
    /// The system does not say where a user's files are.
    pub fn credentials_path(&self) -> anyhow::Result<PathBuf> {
        let path = self.credentials_file.clone().or_else(credentials::usual_file);
        path.context("there is no home folder: say where to keep it with --credentials-file")
    }

    /// The authority of the broker's certificate.
    pub(super) fn read_ca(&self) -> anyhow::Result<Option<Vec<u8>>> {
        self.ca_file.as_ref().map(read).transpose()
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
    write_text(&match output {
        OutputFormat::Table => printable_lines(&render(answer, width)).into_owned(),
        OutputFormat::Json => format!("{}\n", serde_json::to_string(answer)?),
    })
}

/// Writes a text to standard output.
///
/// # Errors
/// It cannot be written. A reader that has gone, such as `head`, is no error.
pub fn write_text(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// A table for people. What its cells hold of others' texts does nothing to a terminal.
pub struct Rows(Table);

impl Rows {
    /// Adds a row; each cell is one line, wrapped where it is too long.
    pub fn add_row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.add_row(cells.into_iter().map(|cell| printable(cell.as_ref()).into_owned()));
    }

    /// Adds a row whose cells are laid out already: their line feeds are ours.
    pub fn add_laid_out_row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.0.add_row(cells.into_iter().map(|cell| printable_lines(cell.as_ref()).into_owned()));
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A table with headers that wraps long cells.
pub fn table(width: u16, headers: &[&str]) -> Rows {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(headers.to_vec());
    Rows(table)
}

/// Clears the screen before the next output.
pub fn clear_screen() {
    // If the reader has gone, the next write fails.
    let _gone = io::stdout().lock().write_all(CLEAR_SCREEN.as_bytes());
}

/// A heading, and what stands below it.
pub fn section(heading: &str, body: impl std::fmt::Display) -> String {
    format!("{heading}\n{body}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_of_a_table_reaches_the_terminal_as_a_command() {
        let mut rows = table(80, &["name", "target"]);
        rows.add_row(["www.example.com", "\u{1b}[2Jgone\r\n\u{9b}1A"]);
        rows.add_laid_out_row(["one\ntwo", "\u{7}"]);
        let text = rows.to_string();
        assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
        assert!(text.contains(r"\u{1b}[2Jgone\r\n\u{9b}1A") && text.contains(r"\u{7}"), "{text}");
    }
}

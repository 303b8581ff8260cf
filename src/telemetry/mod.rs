//! The program's telemetry. Only the log for now: text for people or one JSON object a line, on standard error.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// The variable whose directives win over those of the configuration.
pub const FILTER_VARIABLE: &str = "ZONEFOLD_LOG";

/// Silent unless the directives name it: the library of the emulator's DNS writes two lines for every question.
const QUIET: &str = "hickory_server=warn";

/// Why there is no log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// The directives cannot be read.
    #[error(
        "{directives:?} is not a log filter ({reason}); write a level, or directives like info,zonefold::broker=debug"
    )]
    Filter {
        /// The directives as given.
        directives: String,
        /// Why.
        reason: String,
    },
}

/// Starts the log of this process. The first call decides; later ones change nothing, so tests may call it as they like.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    init_to(log, std::io::stderr)
}

/// Starts the log of this process, written elsewhere than to standard error.
#[expect(
    clippy::disallowed_methods,
    reason = "the filter can be changed where no option is parsed"
)]
pub fn init_to<W>(log: &Log, writer: W) -> Result<(), TelemetryError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    static STARTED: OnceLock<()> = OnceLock::new();
    let from_environment =
        std::env::var(FILTER_VARIABLE).ok().filter(|directives| !directives.trim().is_empty());
    let filter = parse_filter(from_environment.as_deref().unwrap_or(&log.filter))?;
    STARTED.get_or_init(|| {
        // It fails only when another subscriber is there already, and that one stays.
        let _ = subscriber(log.format, filter, writer).try_init();
    });
    Ok(())
}

fn parse_filter(directives: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        // A later directive for the same target wins.
        .parse(format!("{QUIET},{directives}"))
        .map_err(|error| TelemetryError::Filter {
            directives: directives.to_owned(),
            reason: error.to_string(),
        })
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn tracing::Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let registry = tracing_subscriber::registry().with(filter);
    // Colours are for a person at a terminal; in a file or a pipe they are noise.
    let colours = std::io::stderr().is_terminal();
    match format {
        LogFormat::Text => Box::new(
            registry.with(tracing_subscriber::fmt::layer().with_ansi(colours).with_writer(writer)),
        ),
        LogFormat::Json => {
            let layer =
                tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(true);
            Box::new(registry.with(layer.with_writer(writer)))
        }
    }
}

/// A text of which the log may tell the beginning and no more: a key id, a name from outside.
#[derive(Clone, Copy)]
pub struct Redacted<'a>(pub &'a str);

impl fmt::Display for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.0.chars().count();
        // Of a short text even a part would tell too much.
        let shown = if length >= 16 { 4 } else { 0 };
        self.0.chars().take(shown).try_for_each(|c| write!(f, "{}", c.escape_debug()))?;
        f.write_str("***")
    }
}

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Captured {
        type Writer = Self;
        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat) -> String {
        let captured = Captured::default();
        let subscriber = subscriber(format, parse_filter("info").unwrap(), captured.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(zone = "Z1", "said");
            tracing::debug!("not said");
        });
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn json_is_one_object_a_line_and_the_filter_holds() {
        let text = logged(LogFormat::Json);
        let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
        assert_eq!((line["message"].as_str(), line["zone"].as_str()), (Some("said"), Some("Z1")));
        assert_eq!(logged(LogFormat::Text).lines().count(), 1);
    }

    #[test]
    fn every_question_of_dns_is_logged_only_when_somebody_asks_for_it() {
        let shown = |directives: &str| {
            let subscriber =
                subscriber(LogFormat::Text, parse_filter(directives).unwrap(), Captured::default());
            tracing::subscriber::with_default(
                subscriber,
                || tracing::enabled!(target: "hickory_server::server", tracing::Level::INFO),
            )
        };
        assert!(!shown("info"));
        assert!(shown("info,hickory_server=info"));
    }

    #[test]
    fn starting_twice_is_no_error_and_a_wrong_filter_is_one() {
        init(&Log::default()).unwrap();
        init(&Log::default()).unwrap();
        assert!(parse_filter("a=b=c").unwrap_err().to_string().contains("write a level"));
    }

    #[test]
    fn a_redacted_text_shows_its_beginning_only_when_it_is_long() {
        assert_eq!(Redacted("AKIAIOSFODNN7EXAMPLE").to_string(), "AKIA***");
        assert_eq!(Redacted("short-secret").to_string(), "***");
    }
}

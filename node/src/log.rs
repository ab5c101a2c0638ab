//! Logs of a process, on stderr.
//!
//! `main` calls [`init`] once, after the configuration is read.
//!
//! What must stay true: control characters that came from outside are escaped, in messages and in fields, so that
//! nobody rewrites a terminal or forges a line through our log; and whoever makes us complain again and again fills no
//! disk (`log/limit.rs`).

mod limit;

use std::fmt::{self, Write};
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tokio::time::sleep;
use tracing::Subscriber;
use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::{FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use limit::{LIMIT_EVERY, Limit};

/// Which events are logged: a level, or directives such as `info,edge::door=debug`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(String);

/// The shape of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Why a text is not a [`Filter`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// One word that is no level. As a directive it would switch everything on for a module of that name, which
    /// nobody means who writes `inof`.
    #[error(
        "{0:?} is neither error, warn, info, debug, trace nor off; for one module write edge::door=debug"
    )]
    Level(String),
    /// What the directive parser said.
    #[error("{0}")]
    Directive(String),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        for directive in text.split(',') {
            let is_word = directive.chars().all(|letter| letter.is_alphanumeric() || "_:-".contains(letter));
            // An empty one would count as a level.
            let is_level = !directive.is_empty() && directive.parse::<LevelFilter>().is_ok();
            if is_word && !is_level {
                return Err(FilterError::Level(directive.to_owned()));
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(error) => Err(FilterError::Directive(error.to_string())),
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Sends the process's events to stderr, coloured where that is a terminal and `NO_COLOR` is not set.
///
/// # Errors
///
/// The process has a subscriber already.
pub fn init(filter: &Filter, format: Format) -> Result<LeftOut, TryInitError> {
    let is_coloured =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let limit = Limit::new();
    subscriber(filter, format, is_coloured, limit.clone(), io::stderr).try_init()?;
    Ok(LeftOut(limit))
}

/// What the log leaves out, since the same place said it again and again; clones share it.
#[derive(Debug, Clone)]
pub struct LeftOut(Limit);

impl LeftOut {
    /// Tells it now and then, for as long as the process runs.
    pub async fn keep_telling(self) {
        loop {
            sleep(LIMIT_EVERY).await;
            self.tell();
        }
    }

    /// Tells it now: the process ends.
    pub fn tell(&self) {
        self.0.tell();
    }
}

fn subscriber<W>(
    filter: &Filter,
    format: Format,
    is_coloured: bool,
    limit: Limit,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let mut directives = filter.0.clone();
    for quiet in QUIET {
        if !directives.contains(quiet) {
            directives += &format!(",{quiet}=error");
        }
    }
    let filter = EnvFilter::builder().parse(directives).expect("a Filter is parsed when it is made");
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match format {
        Format::Text => {
            Box::new(builder.with_ansi(is_coloured).fmt_fields(text_fields()).finish().with(limit))
        }
        Format::Json => Box::new(builder.json().flatten_event(true).finish().with(limit)),
    }
}

/// Libraries that warn of whatever a stranger sends: their warnings are logged only where a directive names them.
const QUIET: [&str; 1] = ["web_transport_quinn"];

/// Writes `message name=value …`.
///
/// The formatter that comes with tracing-subscriber escapes the message but not the fields, and ours are where
/// words from outside are (`%client`); nor does it escape line breaks, with which one could forge a line.
fn text_fields() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let write_field = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        if field.name() != "message" {
            write!(writer, "{}=", field.name())?;
        }
        write!(Escaping(writer), "{value:?}")
    };
    debug_fn(write_field).delimited(" ")
}

/// Passes text on with its control characters escaped.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            let is_last_control = |letter: &char| letter.is_control();
            match piece.chars().next_back().filter(is_last_control) {
                Some(control) => {
                    self.0.write_str(piece.trim_end_matches(control))?;
                    write!(self.0, "{}", control.escape_default())?;
                }
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[test]
    fn text_lines_have_fields_and_no_colours() {
        let lines = logged("info", Format::Text, || tracing::info!(edge = "edge-1", "linked"));

        assert!(lines.ends_with("linked edge=\"edge-1\"\n"), "{lines}");
        assert!(!lines.contains('\x1b'));
    }

    #[test]
    fn json_lines_are_objects_with_fields_at_the_top() {
        let lines = logged("info", Format::Json, || tracing::warn!(clients = 500, "full"));

        let line: serde_json::Value = serde_json::from_str(&lines).expect("one JSON object");
        assert_eq!(
            (&line["level"], &line["message"], &line["clients"]),
            (&"WARN".into(), &"full".into(), &500.into())
        );
    }

    #[test]
    fn escape_sequences_from_outside_reach_no_terminal() {
        let hostile = "\x1b[2J\x07\u{9b}31m\n\r\n\nINFO forged";

        let text = logged("info", Format::Text, || tracing::info!(user = %hostile, "{hostile}"));
        let json = logged("info", Format::Json, || tracing::info!(user = %hostile, "{hostile}"));

        for lines in [text, json] {
            assert!(lines.chars().all(|letter| letter == '\n' || !letter.is_ascii_control()), "{lines:?}");
            assert_eq!(lines.lines().count(), 1, "{lines:?}");
        }
    }

    #[test]
    fn the_filter_decides_per_module() {
        let lines = logged("warn,node::log::tests=debug", Format::Text, || {
            tracing::debug!("wanted");
            tracing::info!(target: "elsewhere", "unwanted");
        });

        assert!(lines.contains("wanted") && !lines.contains("unwanted"), "{lines}");
    }

    #[test]
    fn a_library_that_warns_of_strangers_is_quiet_unless_it_is_named() {
        let events = || {
            tracing::warn!(target: "web_transport_quinn::session", "unknown capsule");
            tracing::warn!("ours");
        };

        let quiet = logged("info", Format::Text, events);
        let named = logged("info,web_transport_quinn=debug", Format::Text, events);

        assert!(!quiet.contains("capsule") && quiet.contains("ours"), "{quiet}");
        assert!(named.contains("capsule") && named.contains("ours"), "{named}");
    }

    #[test]
    fn levels_and_directives_are_filters() {
        for text in ["info", "OFF", "warn,edge=debug", "info,quinn::connection=trace", "edge[client]=debug"] {
            assert_eq!(text.parse(), Ok(Filter(text.to_owned())));
        }
    }

    #[test]
    fn a_misspelt_level_is_refused_and_told_the_levels() {
        let error = "inof".parse::<Filter>().expect_err("no level");

        assert_eq!(
            error.to_string(),
            r#""inof" is neither error, warn, info, debug, trace nor off; for one module write edge::door=debug"#
        );
        for text in ["", "info,", "edge=loud"] {
            assert!(text.parse::<Filter>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_complained_of_again_and_again_is_counted_and_not_written() {
        let limit = Limit::new();
        let complain = |times| {
            for number in 0..times {
                tracing::warn!(number, "refused");
                tracing::info!(number, "linked");
            }
        };
        let lines = logged_within(&limit, "info", Format::Text, || {
            complain(50);
            tracing::warn!("something else");
            limit.tell();
            complain(1);
            limit.tell();
        });

        let count = |text: &str| lines.matches(text).count();
        assert_eq!((count("refused"), count("linked"), count("something else")), (20, 51, 1), "{lines}");
        assert_eq!(
            (count("left out"), count("lines=30"), count("lines=1 "), count("log.rs:")),
            (2, 1, 1, 2),
            "{lines}"
        );
    }

    fn logged(filter: &str, format: Format, events: impl FnOnce()) -> String {
        logged_within(&Limit::new(), filter, format, events)
    }

    fn logged_within(limit: &Limit, filter: &str, format: Format, events: impl FnOnce()) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let filter = filter.parse().expect("a filter");
        let subscriber =
            subscriber(&filter, format, false, limit.clone(), move || Lines(Arc::clone(&writer)));
        tracing::subscriber::with_default(subscriber, events);
        String::from_utf8(lines.lock().expect("no panic while logging").clone()).expect("text")
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while logging").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}

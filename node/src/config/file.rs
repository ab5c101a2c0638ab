//! The lowest layer: a flat TOML file.

use std::ops::Range;
use std::path::Path;

use toml_edit::{Document, Item, Value};

use super::ConfigError;
use super::catalogue::{Arity, Catalogue, Setting, Shape};
use super::layer::{Given, Layer, Origin, Source};

/// Reads the file at `path`; each mistake names its line.
pub(super) fn read(catalogue: &Catalogue, path: &Path) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        ConfigError::Mistake(format!("{}: cannot read: {}", path.display(), crate::bind::reason(&error)))
    })?;
    let file = File { path, text: &text };
    let document = Document::parse(text.as_str()).map_err(|error| {
        // Of several lines the parser's message has, the first says what is wrong.
        let message = error.message().lines().next().unwrap_or("not TOML").to_owned();
        file.mistake(error.span(), &message)
    })?;

    let mut layer = Layer::new();
    for (name, item) in document.iter() {
        let span = document.as_table().key(name).and_then(toml_edit::Key::span).or_else(|| item.span());
        let Some((setting, is_secret_file)) = catalogue.by_key(name) else {
            return Err(file.mistake(span, &unknown(catalogue, name)));
        };
        let refuse = |reason: String| file.mistake(span.clone(), &format!("{name}: {reason}"));
        let source = source(setting, is_secret_file, item).map_err(refuse)?;
        let given = Given { name: name.to_owned(), origin: file.origin(span.clone()), source };
        if let Some(other) = layer.insert(setting.id.clone(), given) {
            return Err(refuse(format!("{} is given too; leave one out", other.name)));
        }
    }
    Ok(layer)
}

struct File<'f> {
    path: &'f Path,
    text: &'f str,
}

impl File<'_> {
    fn mistake(&self, span: Option<Range<usize>>, reason: &str) -> ConfigError {
        ConfigError::Mistake(format!("{}: {reason}", self.origin(span)))
    }

    fn origin(&self, span: Option<Range<usize>>) -> Origin {
        let before = span.map_or(0, |span| span.start.min(self.text.len()));
        let line = 1 + self.text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }
}

fn unknown(catalogue: &Catalogue, name: &str) -> String {
    match catalogue.nearest_key(name) {
        Some(near) => format!("unknown key {name:?}; did you mean {near}?"),
        None => format!("unknown key {name:?}; --help lists the flags, and keys are flags with _ for -"),
    }
}

fn source(setting: &Setting, is_secret_file: bool, item: &Item) -> Result<Source, String> {
    match item {
        Item::Value(Value::String(path)) if is_secret_file => Ok(Source::SecretFile(path.value().into())),
        Item::Value(other) if is_secret_file => {
            Err(format!("{} is not right; expected \"<FILE>\"", spelt(other)))
        }
        Item::Value(Value::Array(array)) if setting.arity == Arity::Many => {
            array.iter().map(|value| scalar(setting, value)).collect::<Result<_, _>>().map(Source::Values)
        }
        Item::Value(value) => Ok(Source::Values(vec![scalar(setting, value)?])),
        Item::Table(_) | Item::ArrayOfTables(_) | Item::None => {
            Err(format!("a table is not right; expected {}", setting.expected))
        }
    }
}

/// Takes TOML's types at their word: a name is in quotes and a number is not, so that slips do not become values.
fn scalar(setting: &Setting, value: &Value) -> Result<String, String> {
    let refuse = |hint: &str| {
        let wrong = if setting.is_secret { "<redacted>".to_owned() } else { spelt(value) };
        Err(format!("{wrong} is not right; expected {hint}{}", setting.expected))
    };
    match (value, setting.shape) {
        (Value::String(text), Shape::Text | Shape::Any) => Ok(text.value().clone()),
        (Value::Integer(number), Shape::Number | Shape::Any) => Ok(number.value().to_string()),
        (Value::Float(number), Shape::Number | Shape::Any) => Ok(number.value().to_string()),
        (Value::Boolean(boolean), Shape::Boolean) => Ok(boolean.value().to_string()),
        (Value::Array(_), _) => refuse("one value: "),
        (_, Shape::Boolean) => refuse("true or false "),
        (_, Shape::Text) => refuse("text in quotes: "),
        (_, Shape::Number) => refuse("a number without quotes: "),
        (_, Shape::Any) => refuse(""),
    }
}

/// Spells a value as the file does, without the blanks and comments around it, and without a password; what holds
/// others is only named.
fn spelt(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", super::shown::without_password(text.value())),
        Value::Array(_) => "a list".to_owned(),
        Value::InlineTable(_) => "a table".to_owned(),
        other => other.clone().decorated("", "").to_string(),
    }
}

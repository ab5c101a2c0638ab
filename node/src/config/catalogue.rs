//! The settings of a binary, as its clap command declares them, and the names they have in each layer.

use std::any::TypeId;
use std::ffi::OsString;
use std::num;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::Secret;

/// Flags that steer the process or its configuration; no file can set them, and of the environment only
/// `CAUSEWAY_CONFIG`.
const NOT_SETTINGS: [&str; 4] = ["config", "help", "print-config", "version"];

/// How alike two names must be (Jaro-Winkler, 0 to 1) for one to be proposed for the other. `max_client` scores
/// 0.98 against `max_clients`, `maximum_clients` 0.90, `clients` 0.53.
const LIKENESS_MIN: f64 = 0.75;

const AFTER_HELP: &str = "\
Each setting may also be given in the environment (--log-level as CAUSEWAY_LOG_LEVEL; lists with commas) or in the
file of --config (log_level = \"info\"; lists as arrays). Flags win over the environment, and that over the file.";

/// All settings of one binary.
pub(super) struct Catalogue {
    command: Command,
    settings: Vec<Setting>,
}

/// One setting and its names.
#[derive(Debug)]
pub(super) struct Setting {
    /// clap's name for it.
    pub(super) id: String,
    /// `max-clients`
    pub(super) flag: String,
    /// `max_clients`
    pub(super) key: String,
    /// `CAUSEWAY_MAX_CLIENTS`
    pub(super) variable: String,
    pub(super) arity: Arity,
    pub(super) shape: Shape,
    pub(super) is_secret: bool,
    /// What a right value looks like, for the end of an error.
    pub(super) expected: String,
}

/// How many values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arity {
    /// None: a flag that is there or not; `true` or `false` elsewhere.
    Switch,
    One,
    Many,
}

/// Which TOML values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Number,
    Boolean,
    /// Text or number, as its parser likes.
    Any,
}

impl Catalogue {
    /// Lists the settings of `command` and gives its secrets their `--…-file` form.
    pub(super) fn new(mut command: Command) -> Self {
        assert!(!command.has_subcommands(), "a configured command has no subcommands");
        let settings: Vec<_> = command
            .get_arguments()
            .filter(|arg| !NOT_SETTINGS.contains(&long(arg)))
            .map(Setting::new)
            .collect();
        for setting in settings.iter().filter(|setting| setting.is_secret) {
            command = command.arg(setting.file_flag());
        }
        if command.get_after_help().is_none() {
            command = command.after_help(AFTER_HELP);
        }
        Self { command, settings }
    }

    pub(super) fn command(&self) -> Command {
        self.command.clone()
    }

    pub(super) fn settings(&self) -> &[Setting] {
        &self.settings
    }

    pub(super) fn setting(&self, id: &str) -> &Setting {
        self.settings.iter().find(|setting| setting.id == id).expect("ids in layers come from the catalogue")
    }

    /// Returns the setting `key` names in a file, and whether as the file of a secret.
    pub(super) fn by_key(&self, key: &str) -> Option<(&Setting, bool)> {
        self.by_name(key, |setting| &setting.key, Setting::file_key)
    }

    /// Returns the setting `variable` names in the environment, and whether as the file of a secret.
    pub(super) fn by_variable(&self, variable: &str) -> Option<(&Setting, bool)> {
        self.by_name(variable, |setting| &setting.variable, Setting::file_variable)
    }

    pub(super) fn nearest_key(&self, wrong: &str) -> Option<String> {
        let files = self.settings.iter().filter_map(Setting::file_key);
        nearest(wrong, self.settings.iter().map(|setting| setting.key.clone()).chain(files))
    }

    pub(super) fn nearest_variable(&self, wrong: &str) -> Option<String> {
        let files = self.settings.iter().filter_map(Setting::file_variable);
        let names = self.settings.iter().map(|setting| setting.variable.clone());
        // They all begin alike, which would make everything similar to everything.
        let stem = |name: String| name.trim_start_matches(PREFIX).to_owned();
        let stems = names.chain(files).chain([CONFIG_VARIABLE.to_owned()]).map(stem);
        nearest(wrong.trim_start_matches(PREFIX), stems).map(|stem| format!("{PREFIX}{stem}"))
    }

    fn by_name(
        &self,
        name: &str,
        bare: impl Fn(&Setting) -> &String,
        file: impl Fn(&Setting) -> Option<String>,
    ) -> Option<(&Setting, bool)> {
        self.settings.iter().find_map(|setting| {
            if bare(setting) == name {
                return Some((setting, false));
            }
            (file(setting)? == name).then_some((setting, true))
        })
    }
}

/// What all our environment variables begin with.
pub(super) const PREFIX: &str = "CAUSEWAY_";

/// Names the configuration file in the environment.
pub(super) const CONFIG_VARIABLE: &str = "CAUSEWAY_CONFIG";

impl Setting {
    fn new(arg: &Arg) -> Self {
        let flag = long(arg).to_owned();
        let key = flag.replace('-', "_");
        let arity = match arg.get_action() {
            ArgAction::SetTrue => Arity::Switch,
            ArgAction::Append => Arity::Many,
            ArgAction::Set => Arity::One,
            other => panic!("--{flag}: a setting cannot have the action {other:?}"),
        };
        Self {
            id: arg.get_id().to_string(),
            variable: format!("{PREFIX}{}", key.to_uppercase()),
            key,
            flag,
            arity,
            shape: if arity == Arity::Switch { Shape::Boolean } else { Shape::of(arg.get_value_parser()) },
            is_secret: arg.get_value_parser().type_id() == TypeId::of::<Secret>(),
            expected: expected(arg),
        }
    }

    /// `api_key_file`, for a secret.
    pub(super) fn file_key(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}_file", self.key))
    }

    /// `CAUSEWAY_API_KEY_FILE`, for a secret.
    pub(super) fn file_variable(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}_FILE", self.variable))
    }

    /// clap's name for `--api-key-file`.
    pub(super) fn file_id(&self) -> String {
        format!("{}_file", self.id)
    }

    /// Spells a value for an error: as in a file, or hidden.
    pub(super) fn quoted(&self, value: &str) -> String {
        if self.is_secret {
            return "<redacted>".to_owned();
        }
        format!("{:?}", super::shown::without_password(value))
    }

    fn file_flag(&self) -> Arg {
        Arg::new(self.file_id())
            .long(format!("{}-file", self.flag))
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("Reads --{} from this file", self.flag))
    }
}

impl Shape {
    fn of(parser: &ValueParser) -> Self {
        let is_one_of = |types: &[TypeId]| types.iter().any(|known| parser.type_id() == *known);
        if is_one_of(&[id::<String>(), id::<OsString>(), id::<PathBuf>(), id::<Secret>()]) {
            return Self::Text;
        }
        if is_one_of(&[id::<bool>()]) {
            return Self::Boolean;
        }
        let sizes = [id::<u8>(), id::<u16>(), id::<u32>(), id::<u64>(), id::<usize>()];
        let signed = [id::<i8>(), id::<i16>(), id::<i32>(), id::<i64>(), id::<f32>(), id::<f64>()];
        let positive = [id::<num::NonZeroU16>(), id::<num::NonZeroU32>(), id::<num::NonZeroUsize>()];
        if is_one_of(&sizes) || is_one_of(&signed) || is_one_of(&positive) {
            return Self::Number;
        }
        Self::Any
    }
}

fn id<T: 'static>() -> TypeId {
    TypeId::of::<T>()
}

fn long(arg: &Arg) -> &str {
    arg.get_long().unwrap_or_else(|| panic!("{}: a setting has a long flag", arg.get_id()))
}

fn expected(arg: &Arg) -> String {
    let choices: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !choices.is_empty() {
        return format!("one of {}", choices.join(", "));
    }
    let names: Vec<_> =
        arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
    let help = arg.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
    let example =
        arg.get_default_values().first().map(|value| format!(", such as {}", value.to_string_lossy()));
    format!("{}{help}{}", names.join(" "), example.unwrap_or_default())
}

fn nearest(wrong: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let wrong = wrong.replace('-', "_");
    names
        .map(|name| (strsim::jaro_winkler(&wrong, &name), name))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

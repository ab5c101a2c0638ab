//! Layers against each other, and every mistake by its words.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tempfile::NamedTempFile;

use super::*;
use crate::exit::Exit;

/// Such a struct as a binary has, with one setting of each kind.
#[derive(Debug, Parser)]
#[command(name = "edge", version)]
struct Settings {
    #[command(flatten)]
    common: Common,

    /// Most clients held at the same time
    #[arg(long, value_name = "COUNT", default_value = "500", value_parser = clap::value_parser!(u16).range(1..))]
    max_clients: u16,

    /// Listens here
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,

    /// Pings clients this often
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = duration)]
    ping_interval: Duration,

    /// Lets pages of this origin in
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,

    /// Remembers the cluster here
    #[arg(long, value_name = "URL", default_value = "memory")]
    store: String,

    /// Calls itself so
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Compresses
    #[arg(long)]
    compression: bool,

    /// Serves TLS with this key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Serves TLS with this certificate
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    tls_cert: Option<PathBuf>,

    /// Lets callers of the API in
    #[arg(long, value_name = "KEY")]
    api_key: Option<Secret>,
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = file("max_clients = 10\nstore = \"redis://file\"\nname = \"file\"\n");
    let variables = [("CAUSEWAY_MAX_CLIENTS", "20"), ("CAUSEWAY_NAME", "variable")];

    let loaded = loaded(&["--config", path(&file), "--max-clients", "30"], &variables);

    assert_eq!(loaded.settings.max_clients, 30);
    assert_eq!(loaded.settings.name.as_deref(), Some("variable"));
    assert_eq!(loaded.settings.store, "redis://file");
    assert_eq!(loaded.settings.ping_interval, Duration::from_secs(25));
    let no_warnings: [&str; 0] = [];
    assert_eq!(loaded.warnings, no_warnings);
}

#[test]
fn nothing_given_is_all_defaults() {
    let loaded = loaded(&[], &[]);

    assert_eq!((loaded.settings.max_clients, loaded.settings.compression), (500, false));
    assert!(loaded.settings.api_key.is_none() && loaded.settings.common.config.is_none());
    assert!(loaded.shown.iter().all(|shown| shown.origin == Origin::Default));
}

#[test]
fn a_higher_layers_list_replaces_a_lower_ones() {
    let file = file("allow_origin = [\n  \"https://one\",\n  \"https://two\",\n]\n");
    let config = ["--config", path(&file)];
    let origins = |args: &[&str], variables: &[(&str, &str)]| {
        loaded(&[&config, args].concat(), variables).settings.allow_origin
    };
    let variable = [("CAUSEWAY_ALLOW_ORIGIN", "https://three, https://four,")];

    assert_eq!(origins(&[], &[]), ["https://one", "https://two"]);
    assert_eq!(origins(&[], &variable), ["https://three", "https://four"]);
    let flags = ["--allow-origin", "https://five", "--allow-origin=https://six"];
    assert_eq!(origins(&flags, &variable), ["https://five", "https://six"]);
    assert!(origins(&[], &[("CAUSEWAY_ALLOW_ORIGIN", "")]).is_empty());
}

#[test]
fn switches_are_true_or_false_below_the_command_line() {
    let on = file("compression = true\n");
    let config = ["--config", path(&on)];

    assert!(loaded(&config, &[]).settings.compression);
    assert!(!loaded(&config, &[("CAUSEWAY_COMPRESSION", "false")]).settings.compression);
    assert!(loaded(&["--compression"], &[("CAUSEWAY_COMPRESSION", "0")]).settings.compression);
    assert_mistake(
        &refused(&[], &[("CAUSEWAY_COMPRESSION", "yes")]),
        r#"CAUSEWAY_COMPRESSION: "yes" is not right; expected true or false"#,
    );
}

#[test]
fn the_environment_can_name_the_file_and_the_flag_wins() {
    let one = file("max_clients = 1\n");
    let two = file("max_clients = 2\n");
    let variable = [("CAUSEWAY_CONFIG", path(&one))];

    assert_eq!(loaded(&[], &variable).settings.max_clients, 1);
    assert_eq!(loaded(&["--config", path(&two)], &variable).settings.max_clients, 2);
}

#[test]
fn every_mistake_in_a_file_names_its_line_and_what_would_be_right() {
    for (text, mistake) in [
        ("\nmax_client = 5", r#":2: unknown key "max_client"; did you mean max_clients?"#),
        ("max-clients = 5", r#":1: unknown key "max-clients"; did you mean max_clients?"#),
        (
            "[listen]\nport = 1",
            ":1: listen: a table is not right; expected <HOST:PORT> (Listens here), such as 127.0.0.1:8000",
        ),
        ("zzz = 5", r#":1: unknown key "zzz"; --help lists the flags, and keys are flags with _ for -"#),
        ("# c\n\nprint_config = true", r#":3: unknown key "print_config"; --help lists"#),
        ("config = \"x\"", r#":1: unknown key "config"; --help lists"#),
        ("help = true", r#":1: unknown key "help""#),
        (
            "\n\nmax_clients = \"many\"",
            r#":3: max_clients: "many" is not right; expected a number without quotes: <COUNT> (Most clients held at the same time), such as 500"#,
        ),
        (
            "max_clients = 0",
            r#":1: max_clients: "0" is not right (0 is not in 1..=65535); expected <COUNT> (Most"#,
        ),
        ("max_clients = [1]", ":1: max_clients: a list is not right; expected one value: <COUNT>"),
        (
            "max_clients = 65536 # too many",
            r#"1: max_clients: "65536" is not right (65536 is not in 1..=65535)"#,
        ),
        (
            "listen = 8000",
            r#":1: listen: "8000" is not right (invalid socket address syntax); expected <HOST:PORT>"#,
        ),
        ("listen = \"localhost\"", r#":1: listen: "localhost" is not right (invalid socket address syntax)"#),
        ("name = 5", ":1: name: 5 is not right; expected text in quotes: <NAME> (Calls itself so)"),
        ("name = true", ":1: name: true is not right; expected text in quotes"),
        ("name = { a = 1 }", ":1: name: a table is not right; expected text in quotes"),
        ("compression = 1", ":1: compression: 1 is not right; expected true or false"),
        ("ping_interval = 25", r#":1: ping_interval: "25" is not right (time unit needed"#),
        ("log_format = \"xml\"", r#":1: log_format: "xml" is not right; expected one of text, json"#),
        ("log_level = \"inof\"", r#":1: log_level: "inof" is not right ("inof" is neither error"#),
        (
            "allow_origin = [\n\"a\",\n5]",
            ":1: allow_origin: 5 is not right; expected text in quotes: <ORIGIN>",
        ),
        ("store = [\"redis://:pw@host\"]", ":1: store: a list is not right; expected one value: <URL>"),
        ("max_clients = 1\nmax_clients = 2", ":2: duplicate key"),
        ("max_clients = \n", ":1: "),
        ("name = \"a\"\nstore = \"b", ":2: "),
        ("tls_key = \"k\"", ": the following required arguments were not provided: --tls-cert <FILE>"),
        ("name = \"a\"\ntls_cert = \"c\"", ": the argument '--"),
    ] {
        let file = file(text);
        for error in [
            refused(&["--config", path(&file)], &[]),
            check_file::<Settings>(file.path()).expect_err("a mistake"),
        ] {
            assert_eq!(error.exit_code(), Exit::Configuration, "{text}");
            let error = error.to_string();
            assert!(error.contains(mistake), "{text}\n  gives  {error}\n  wanted {mistake}");
        }
    }
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (name, value, mistake) in [
        (
            "CAUSEWAY_MAX_CLIENTS",
            "many",
            r#"CAUSEWAY_MAX_CLIENTS: "many" is not right (invalid digit found in string); expected <COUNT> (Most clients held at the same time), such as 500"#,
        ),
        (
            "CAUSEWAY_LOG_FORMAT",
            "xml",
            r#"CAUSEWAY_LOG_FORMAT: "xml" is not right; expected one of text, json"#,
        ),
        (
            "CAUSEWAY_CONFIG",
            "/nowhere/edge.toml",
            "/nowhere/edge.toml: cannot read: no such file or directory",
        ),
        (
            "CAUSEWAY_API_KEY_FILE",
            "/nowhere/key",
            "CAUSEWAY_API_KEY_FILE: cannot read /nowhere/key: no such file or directory",
        ),
        (
            "CAUSEWAY_API_KEY",
            "",
            "CAUSEWAY_API_KEY: <redacted> is not right (a secret cannot be empty); expected <KEY> (Lets callers of the API in)",
        ),
    ] {
        assert_mistake(&refused(&[], &[(name, value)]), mistake);
    }
}

#[test]
fn an_unknown_variable_is_a_warning_with_the_nearest_name() {
    let variables =
        [("CAUSEWAY_MAX_CLIENT", "5"), ("CAUSEWAY_QQQ", "5"), ("CAUSEWAY_PRINT_CONFIG", "1"), ("OTHER", "5")];

    let loaded = loaded(&[], &variables);

    assert_eq!(loaded.settings.max_clients, 500);
    assert_eq!(
        loaded.warnings,
        [
            "the environment variable CAUSEWAY_MAX_CLIENT is unknown and has no effect; \
             did you mean CAUSEWAY_MAX_CLIENTS?",
            "the environment variable CAUSEWAY_PRINT_CONFIG is unknown and has no effect",
            "the environment variable CAUSEWAY_QQQ is unknown and has no effect",
        ]
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_matters_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let noise = || OsString::from_vec(vec![0xff]);

    load::<Settings>([], [(noise(), noise()), ("PATH".into(), noise())]).expect("not ours");
    let error = load::<Settings>([], [("CAUSEWAY_NAME".into(), noise())]).expect_err("ours");

    assert_mistake(&error, "CAUSEWAY_NAME: its value is not UTF-8");
}

#[test]
fn mistakes_on_the_command_line_are_usage_errors() {
    let file = file("max_clients = 5\n");
    for args in [
        &["--max-clients", "many"][..],
        &["--max-clients"],
        &["--max-client=5"],
        &["stray"],
        &["--max-clients=1", "--max-clients=2"],
        &["--tls-key=k"],
        &["--tls-cert=c", "--name=n"],
        &["--api-key=k", "--api-key-file=f"],
    ] {
        let args = [&["--config", path(&file)], args].concat();
        let error = refused(&args, &[]);
        assert_eq!(error.exit_code(), Exit::Usage, "{args:?}: {error}");
        assert!(error.to_string().contains("\n\nFor more information, try '--help'"), "{args:?}: {error}");
    }
}

#[test]
fn a_flag_can_be_completed_or_contradicted_by_a_lower_layer() {
    let certificate = file("tls_cert = \"c\"\n");
    let config = ["--config", path(&certificate)];

    let completed = loaded(&[&config[..], &["--tls-key=k"]].concat(), &[]);
    let contradicted = refused(&[&config[..], &["--name=n"]].concat(), &[]);

    assert_eq!(completed.settings.tls_cert, Some("c".into()));
    let line = format!("{}:1: tls_cert: the argument", path(&certificate));
    assert!(contradicted.to_string().starts_with(&line), "{contradicted}");
}

#[test]
fn help_and_version_end_well_whatever_else_is_wrong() {
    let variables = [("CAUSEWAY_MAX_CLIENTS", "many")];
    for flag in ["--help", "--version"] {
        assert_eq!(refused(&[flag], &variables).exit_code(), Exit::Success);
    }
    let help = refused(&["--help"], &[]).to_string();
    for wanted in
        ["--api-key-file <FILE>", "Reads --api-key from this file", "CAUSEWAY_LOG_LEVEL", "[default: 500]"]
    {
        assert!(help.contains(wanted), "{wanted} is missing in\n{help}");
    }
}

#[test]
fn a_secret_can_be_in_a_file_named_by_any_layer() {
    let key = file("from the file\n");
    let named = format!("api_key_file = {:?}\n", path(&key));
    let config = file(&named);

    for loaded in [
        loaded(&["--config", path(&config)], &[]),
        loaded(&[], &[("CAUSEWAY_API_KEY_FILE", path(&key))]),
        loaded(&["--api-key-file", path(&key)], &[("CAUSEWAY_API_KEY", "lower")]),
    ] {
        assert_eq!(loaded.settings.api_key.as_ref().map(Secret::expose), Some("from the file"));
        assert!(loaded.warnings.is_empty());
    }
}

#[test]
fn a_secrets_file_loses_one_newline_and_no_more() {
    for (text, secret) in
        [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" --a= b ", " --a= b ")]
    {
        let key = file(text);
        let loaded = loaded(&["--api-key-file", path(&key)], &[]);
        assert_eq!(loaded.settings.api_key.as_ref().map(Secret::expose), Some(secret));
    }
}

#[test]
fn an_unusable_secrets_file_is_a_mistake_of_the_layer_that_named_it() {
    let empty = file("\n");
    let config = file("\napi_key_file = \"/nowhere/key\"\n");

    assert_mistake(
        &refused(&["--api-key-file", path(&empty)], &[]),
        &format!("--api-key-file: {} is empty", path(&empty)),
    );
    assert_mistake(
        &refused(&["--config", path(&config)], &[]),
        &format!("{}:2: api_key_file: cannot read /nowhere/key: no such file or directory", path(&config)),
    );
    // It need not be there where it does not count.
    loaded(&["--config", path(&config)], &[("CAUSEWAY_API_KEY", "k")]);
}

#[test]
fn a_secret_twice_in_one_layer_is_a_mistake() {
    let config = file("api_key = \"a\"\napi_key_file = \"b\"\n");

    assert_mistake(
        &refused(&["--config", path(&config)], &[]),
        &format!("{}:2: api_key_file: api_key is given too; leave one out", path(&config)),
    );
    assert_mistake(
        &refused(&[], &[("CAUSEWAY_API_KEY", "a"), ("CAUSEWAY_API_KEY_FILE", "b")]),
        "CAUSEWAY_API_KEY_FILE: CAUSEWAY_API_KEY is given too; leave one out",
    );
}

#[test]
fn a_bare_secret_works_and_only_the_command_line_warns() {
    let typed = loaded(&["--api-key", "hunter2"], &[]);
    let variable = loaded(&[], &[("CAUSEWAY_API_KEY", "hunter2")]);

    assert_eq!(typed.settings.api_key.as_ref().map(Secret::expose), Some("hunter2"));
    assert_eq!(
        typed.warnings,
        ["--api-key shows its secret to all users of this machine; use --api-key-file"]
    );
    assert!(variable.warnings.is_empty());
}

#[test]
fn an_address_with_a_password_works_and_only_the_command_line_warns() {
    let typed = loaded(&["--store=redis://:hunter2@h"], &[]);
    assert_eq!(
        typed.warnings,
        ["--store shows its password to all users of this machine; give it in another way"]
    );
    assert!(loaded(&["--store=redis://h"], &[]).warnings.is_empty());
    assert!(loaded(&[], &[("CAUSEWAY_STORE", "redis://:hunter2@h")]).warnings.is_empty());
}

#[test]
fn no_secret_is_told_by_anything() {
    let wrong = file("api_key = 112233\n");
    let table = file("api_key = { hunter2 = \"hunter2\" }\n");
    let key = file("hunter2");
    let mut told =
        format!("{:?}", loaded(&["--api-key", "hunter2", "--store=redis://:hunter2@h"], &[]).shown);
    told += &loaded(&["--api-key-file", path(&key)], &[]).print_config();
    told += &refused(&["--config", path(&wrong)], &[]).to_string();
    told += &refused(&["--config", path(&table)], &[]).to_string();

    assert!(!told.contains("hunter2") && !told.contains("112233"), "{told}");
}

#[test]
fn the_print_out_tells_every_value_and_its_origin() {
    let file = file("# mine\nstore = \"redis://user:pw@host\"\nallow_origin = [\"a\", \"b\\\"c\"]\n");
    let args = ["--config", path(&file), "--max-clients=30"];
    let variables = [("CAUSEWAY_API_KEY", "k"), ("CAUSEWAY_PING_INTERVAL", "1m")];

    let printed = loaded(&args, &variables).print_config();

    let path = path(&file);
    let expected = format!(
        r#"log_level = "info"  # default
log_format = "text"  # default
max_clients = 30  # command line
listen = "127.0.0.1:8000"  # default
ping_interval = "1m"  # CAUSEWAY_PING_INTERVAL
allow_origin = ["a", 'b"c']  # {path}:3
store = "redis://user:<redacted>@host"  # {path}:2
# name is not set
compression = false  # default
# tls_key is not set
# tls_cert is not set
# api_key = "<redacted>"  # CAUSEWAY_API_KEY
"#
    );
    assert_eq!(printed, expected);
}

#[test]
fn the_print_out_is_a_file_that_gives_the_same_settings() {
    let first = loaded(&["--compression", "--allow-origin=a", "--name=tab\there", "--max-clients=7"], &[]);
    let printed = file(&first.print_config());

    let second = check_file::<Settings>(printed.path()).expect("a configuration");

    let values = |loaded: &Loaded<Settings>| loaded.shown.iter().map(|s| s.value.clone()).collect::<Vec<_>>();
    assert_eq!(values(&first), values(&second));
    assert_eq!(second.settings.name.as_deref(), Some("tab\there"));
}

#[test]
fn a_refusal_after_loading_names_where_the_value_came_from() {
    let file = file("\nname = \"A\"\n");
    let loaded = loaded(&["--config", path(&file), "--store=memory"], &[("CAUSEWAY_MAX_CLIENTS", "9")]);

    assert_mistake(&loaded.refuse("name", "no."), &format!("{}:2: name: no.", path(&file)));
    assert_mistake(&loaded.refuse("max_clients", "no."), "CAUSEWAY_MAX_CLIENTS: no.");
    assert_mistake(&loaded.refuse("store", "no."), "--store: no.");
    assert_mistake(&loaded.refuse("tls_cert", "no."), "--tls-cert: no.");
}

#[test]
fn values_may_look_like_flags_and_hold_anything() {
    let file = file("name = \"--help\"\nallow_origin = [\"--\", \"\", \"a,b\", \"=\"]\n");

    let loaded = loaded(&["--config", path(&file)], &[("CAUSEWAY_STORE", "-x y=z")]);

    assert_eq!(loaded.settings.name.as_deref(), Some("--help"));
    assert_eq!(loaded.settings.allow_origin, ["--", "", "a,b", "="]);
    assert_eq!(loaded.settings.store, "-x y=z");
}

#[derive(Debug, Parser)]
struct Bare {
    #[arg(long, default_value_t = 1)]
    count: u8,
}

#[test]
fn a_struct_without_the_common_flags_can_be_loaded_too() {
    let loaded = load::<Bare>([], [("CAUSEWAY_COUNT".into(), "2".into())]).expect("right");

    assert_eq!(loaded.settings.count, 2);
}

fn loaded(args: &[&str], variables: &[(&str, &str)]) -> Loaded<Settings> {
    try_load(args, variables).unwrap_or_else(|error| panic!("{args:?} {variables:?}: {error}"))
}

fn refused(args: &[&str], variables: &[(&str, &str)]) -> ConfigError {
    try_load(args, variables).expect_err("a mistake")
}

fn try_load(args: &[&str], variables: &[(&str, &str)]) -> Result<Loaded<Settings>, ConfigError> {
    let args = ["edge"].iter().chain(args).map(OsString::from);
    load(args, variables.iter().map(|(name, value)| (name.into(), value.into())))
}

fn assert_mistake(error: &ConfigError, expected: &str) {
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.exit_code(), Exit::Configuration);
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary directory");
    file.write_all(text.as_bytes()).expect("a temporary directory");
    file
}

fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("temporary names are UTF-8")
}

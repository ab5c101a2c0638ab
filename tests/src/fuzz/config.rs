//! Configuration files of edges and relays.

use std::cell::RefCell;
use std::io::{Seek as _, Write as _};

use node::config::{ConfigError, Loaded, Origin, Shown, check_file};
use node::exit::Exit;
use tempfile::NamedTempFile;
use toml_edit::Document;

/// What a secret of the inputs has in it; where it is nowhere else in an input, it must not come out anywhere.
const MARK: &str = "hunter2";

/// A file is refused by its line or key, or can be printed so that the same settings are read from it. No secret of it
/// is shown.
pub(super) fn check(bytes: &[u8]) {
    check_for(bytes, check_file::<edge::config::Settings>, |loaded| edge::config::check(loaded).map(drop));
    check_for(bytes, check_file::<relay::config::Settings>, |loaded| relay::config::check(loaded).map(drop));
}

fn check_for<T: std::fmt::Debug>(
    bytes: &[u8],
    read: fn(&std::path::Path) -> Result<Loaded<T>, ConfigError>,
    check: impl Fn(&Loaded<T>) -> Result<(), ConfigError>,
) {
    match with_file(bytes, read) {
        Err(error) => check_refusal(&error, bytes, &[]),
        Ok(loaded) => {
            check_secrets(bytes, &format!("{} {:?}", loaded.print_config(), loaded.settings));
            if let Err(error) = check(&loaded) {
                check_refusal(&error, bytes, &loaded.shown);
            }
            check_printed(&loaded, read);
        }
    }
}

/// What is printed is a file that says the same, but for secrets, which it leaves out.
fn check_printed<T: std::fmt::Debug>(
    loaded: &Loaded<T>,
    read: fn(&std::path::Path) -> Result<Loaded<T>, ConfigError>,
) {
    let printed = loaded.print_config();
    let again = with_file(printed.as_bytes(), read).unwrap_or_else(|error| panic!("{error} in\n{printed}"));
    let values = |shown: &[Shown]| -> Vec<(String, Option<String>)> {
        let open = shown.iter().filter(|shown| !shown.is_secret);
        open.map(|shown| (shown.key.clone(), shown.value.clone())).collect()
    };
    assert_eq!(values(&again.shown), values(&loaded.shown), "{printed}");
}

/// A refusal names the line of the file, or the setting.
fn check_refusal(error: &ConfigError, bytes: &[u8], shown: &[Shown]) {
    let text = error.to_string();
    check_secrets(bytes, &text);
    assert!(matches!(error, ConfigError::Mistake(_)), "a file makes no mistake of the command line: {text}");
    assert_eq!(error.exit_code(), Exit::Configuration);
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let line = FILE.with_borrow(|file| {
        let rest = text.strip_prefix(&*file.path().to_string_lossy())?.strip_prefix(':')?;
        Some(rest.split(':').next().unwrap_or_default().to_owned())
    });
    match line.as_deref() {
        Some(" cannot read") => assert!(std::str::from_utf8(bytes).is_err(), "{text}"),
        Some(line) => {
            let line: usize = line.parse().unwrap_or_else(|_| panic!("no line in {text}"));
            assert!((1..=lines).contains(&line), "{text} of {lines} lines");
        }
        None => {
            let key = text.strip_prefix("--").and_then(|text| text.split(':').next());
            let key = key.unwrap_or_else(|| panic!("no line and no setting in {text}")).replace('-', "_");
            let setting = shown.iter().find(|shown| shown.key == key);
            let setting = setting.unwrap_or_else(|| panic!("{key} is no setting: {text}"));
            assert_eq!(setting.origin, Origin::Default, "the file's line was to be told: {text}");
        }
    }
}

fn check_secrets(bytes: &[u8], shown: &str) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(document) = Document::parse(text) else { return };
    let is_secret = |key: &str| ["store_password", "token_hmac_secret"].contains(&key);
    let secrets = document.iter().filter(|(key, _)| is_secret(key));
    let marked: usize = secrets.map(|(_, item)| item.to_string().matches(MARK).count()).sum();
    if marked == text.matches(MARK).count() {
        assert!(!shown.contains(MARK), "a secret is shown: {shown}");
    }
}

fn with_file<R>(bytes: &[u8], read: impl Fn(&std::path::Path) -> R) -> R {
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).expect("a temporary file is ours");
        file.rewind().expect("a temporary file is ours");
        file.write_all(bytes).expect("there is room for it");
        read(file.path())
    })
}

thread_local! {
    /// One for all inputs: making a file anew takes longer than reading it.
    static FILE: RefCell<NamedTempFile> =
        RefCell::new(NamedTempFile::new().expect("there is a folder for temporary files"));
}

//! Keeps the cores and the protocols pure: no socket, clock, chance or task in them, or they could not be simulated.

use std::fs;
use std::path::{Path, PathBuf};

const PURE: [&str; 6] = [
    "proto/src",
    "edge/src/core.rs",
    "edge/src/core",
    "edge/src/token.rs",
    "relay/src/core.rs",
    "relay/src/core",
];

const IMPURE: [&str; 11] = [
    "tokio::",
    "quinn",
    "hyper",
    "std::net",
    "std::fs",
    "std::thread",
    "std::env",
    "Instant::now",
    "SystemTime",
    "getrandom",
    "async ",
];

#[test]
fn cores_and_protocols_have_no_socket_clock_chance_or_task() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files: Vec<PathBuf> = PURE.iter().flat_map(|place| sources(&root.join(place))).collect();
    assert!(files.len() > 20, "the places have moved: {files:?}");
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file");
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for (line, impure) in code.flat_map(|line| IMPURE.map(|impure| (line, impure))) {
            assert!(!line.contains(impure), "{}: {impure} in {line}", file.display());
        }
    }
}

/// The source files of a place, those of tests left out: a script needs a moment to start from.
fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = fs::read_dir(place).expect("a folder").map(|entry| entry.expect("readable").path());
    entries
        .filter(|path| !path.ends_with("tests") && !path.ends_with("tests.rs"))
        .flat_map(|path| sources(&path))
        .collect()
}

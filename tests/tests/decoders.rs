//! Every decoder keeps its promises (`tests::fuzz`) for the kept inputs, and for what chance makes of them.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;
use tests::fuzz::{TARGETS, Target};

/// Inputs are kept small, so that whoever reads one sees what it is about.
const INPUT_BYTES_MAX: usize = 4096;

#[test]
fn the_kept_inputs_break_no_promise() {
    for target in &TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "no inputs are kept for {}", target.name);
        for (path, bytes) in inputs {
            assert!(bytes.len() <= INPUT_BYTES_MAX, "{} has {} bytes", path.display(), bytes.len());
            let kept = catch_unwind(|| (target.check)(&bytes));
            assert!(kept.is_ok(), "{} breaks a promise", path.display());
        }
    }
}

#[test]
fn every_folder_of_inputs_is_a_decoders() {
    let folders = paths(&corpus()).iter().map(|path| name(path)).collect::<BTreeSet<_>>();
    assert_eq!(folders, TARGETS.iter().map(|target| target.name.to_owned()).collect());
}

proptest! {
    #[test]
    fn a_client_frame_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("client");
    }

    #[test]
    fn a_configuration_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("config");
    }

    #[test]
    fn a_line_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("line");
    }

    #[test]
    fn link_frames_that_are_like_kept_ones_break_no_promise(change in change()) {
        change.check("link");
    }

    #[test]
    fn a_balancers_header_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("proxy");
    }

    #[test]
    fn a_stream_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("stream");
    }

    #[test]
    fn a_token_that_is_like_a_kept_one_breaks_no_promise(change in change()) {
        change.check("token");
    }

    #[test]
    fn websocket_frames_that_are_like_kept_ones_break_no_promise(change in change()) {
        change.check("websocket");
    }
}

/// The beginning of one kept input, other bytes, and the end of another.
#[derive(Debug)]
struct Change {
    first: Index,
    until: Index,
    between: Vec<u8>,
    second: Index,
    from: Index,
}

fn change() -> impl Strategy<Value = Change> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..8);
    (any::<Index>(), any::<Index>(), bytes, any::<Index>(), any::<Index>())
        .prop_map(|(first, until, between, second, from)| Change { first, until, between, second, from })
}

impl Change {
    fn check(&self, name: &str) {
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
        let inputs = inputs(target);
        let (first, second) = (&self.first.get(&inputs).1, &self.second.get(&inputs).1);
        let until = self.until.index(first.len() + 1);
        let from = self.from.index(second.len() + 1);
        (target.check)(&[&first[..until], &self.between, &second[from..]].concat());
    }
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        (path, bytes)
    };
    paths(&corpus().join(target.name)).into_iter().map(read).collect()
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("readable").path()).collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("an entry has a name").to_string_lossy().into_owned()
}

//! The binary `certs`, as an operator meets it: files, modes, exit codes and messages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use certs::Role;
use certs::link::Identity;

#[test]
fn a_cluster_gets_its_certificates_by_two_commands() {
    let home = tempfile::tempdir().expect("a directory");
    let dir = home.path().join("a/certs");
    let init = certs(["init", text(&dir)]);
    assert_eq!(init.code, 0, "{}", init.stderr);
    assert!(init.stdout.contains("ca.pem") && init.stdout.contains("certs issue "), "{}", init.stdout);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("ca.key")), 0o600);

    let relay = certs(["issue", text(&dir), "--name", "relay-1", "--role", "relay", "--san", "10.0.0.1"]);
    assert_eq!(relay.code, 0, "{}", relay.stderr);
    assert!(relay.stdout.contains("relay-1.pem") && relay.stdout.contains("--link-key"), "{}", relay.stdout);
    assert!(relay.stdout.contains("valid from 20"), "{}", relay.stdout);
    assert_eq!(mode(&dir.join("relay-1.key")), 0o600);
    identity(&dir, "relay-1", Role::Relay).expect("a relay");
    let refused = identity(&dir, "relay-1", Role::Edge).expect_err("no edge");
    assert!(refused.contains("relay-1.pem") && refused.contains("--role edge"), "{refused}");

    assert_eq!(certs(["issue", text(&dir), "--name", "edge-1", "--role", "edge"]).code, 0);
    identity(&dir, "edge-1", Role::Edge).expect("an edge");
    identity(&dir, "edge-1", Role::Relay).expect_err("no relay");
    assert_eq!(certs(["issue", text(&dir), "--name", "both"]).code, 0);
    identity(&dir, "both", Role::Edge).expect("an edge");
    identity(&dir, "both", Role::Relay).expect("a relay");
    assert_eq!(fs::read_dir(&dir).expect("listed").count(), 8, "no temporary file stays");
}

#[test]
fn an_existing_ca_is_kept() {
    let dir = initialized();
    let before = fs::read(dir.path().join("ca.key")).expect("a key");
    let again = certs(["init", text(dir.path())]);
    assert_eq!(again.code, 1);
    assert!(
        again.stderr.contains("never overwritten") && again.stderr.contains("certs issue"),
        "{}",
        again.stderr
    );
    assert_eq!(again.stdout, "");
    assert_eq!(fs::read(dir.path().join("ca.key")).expect("a key"), before);
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o750)).expect("set");
    assert_eq!(certs(["init", text(dir.path())]).code, 0);
    assert_eq!(mode(dir.path()), 0o750);
}

#[test]
fn issuing_again_renews_certificate_and_key() {
    let dir = initialized();
    let issue = || assert_eq!(certs(["issue", text(dir.path()), "--name", "edge-1"]).code, 0);
    issue();
    let first = [".pem", ".key"].map(|end| fs::read(dir.path().join(format!("edge-1{end}"))).expect("there"));
    fs::set_permissions(dir.path().join("edge-1.key"), fs::Permissions::from_mode(0o644)).expect("set");
    issue();
    let second =
        [".pem", ".key"].map(|end| fs::read(dir.path().join(format!("edge-1{end}"))).expect("there"));
    assert!(first[0] != second[0] && first[1] != second[1]);
    assert_eq!(mode(&dir.path().join("edge-1.key")), 0o600);
    identity(dir.path(), "edge-1", Role::Edge).expect("a pair");
}

#[test]
fn a_wrong_command_line_is_a_usage_error_that_names_the_value() {
    let dir = initialized();
    let long = "n".repeat(64);
    let issue = ["issue", text(dir.path()), "--name"];
    for wrong in ["Edge-1", "a.b", "../x", "", "ca", &long] {
        let refused = certs(issue.into_iter().chain([wrong]));
        assert_eq!(refused.code, 2, "{wrong:?}");
        assert!(refused.stderr.contains(wrong) && refused.stderr.contains("--name"), "{}", refused.stderr);
    }
    for wrong in [["--role", "king"], ["--san", "a b"], ["--san", ""]] {
        let refused = certs(issue.into_iter().chain(["edge-1"]).chain(wrong));
        assert_eq!(refused.code, 2, "{wrong:?}");
        assert!(refused.stderr.contains(wrong[0]) && refused.stderr.contains(wrong[1]), "{}", refused.stderr);
    }
    for missing in [&[][..], &["init"], &["issue", text(dir.path())], &["renew"]] {
        assert_eq!(certs(missing.iter().copied()).code, 2, "{missing:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 2, "nothing but the CA");
}

#[test]
fn without_a_usable_ca_issuing_is_a_configuration_error_that_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let issue = |dir: &Path| certs(["issue", text(dir), "--name", "edge-1"]);
    for nowhere in [dir.path(), &dir.path().join("missing")] {
        let refused = issue(nowhere);
        assert_eq!(refused.code, 78, "{}", refused.stderr);
        assert!(refused.stderr.contains(&format!("certs init {}", nowhere.display())), "{}", refused.stderr);
    }
    for (file, garbage) in [("ca.pem", "garbage"), ("ca.key", "garbage"), ("ca.pem", "\u{0}"), ("ca.key", "")]
    {
        let dir = initialized();
        fs::write(dir.path().join(file), garbage).expect("written");
        let refused = issue(dir.path());
        assert_eq!(refused.code, 78, "{}", refused.stderr);
        assert!(refused.stderr.contains(text(&dir.path().join(file))), "{}", refused.stderr);
        assert!(refused.stderr.contains("certs init"), "{}", refused.stderr);
    }
    let (dir, other) = (initialized(), initialized());
    fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).expect("copied");
    let refused = issue(dir.path());
    assert_eq!(refused.code, 78);
    assert!(refused.stderr.contains("not the key of"), "{}", refused.stderr);
}

#[test]
fn what_the_system_refuses_fails_while_running() {
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("file");
    fs::write(&file, "").expect("written");
    let refused = certs(["init", text(&file)]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains(text(&file)) && refused.stderr.contains("cannot be written"));

    // A directory in the way of a leaf.
    let dir = initialized();
    fs::create_dir(dir.path().join("edge-1.key")).expect("made");
    let refused = certs(["issue", text(dir.path()), "--name", "edge-1"]);
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("edge-1.key"), "{}", refused.stderr);
    assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 3, "no temporary file stays");
}

#[test]
fn help_tells_what_it_writes_and_how_it_exits() {
    for (arguments, said) in [
        (&["--help"][..], &["init", "issue", "78"][..]),
        (&["init", "--help"], &["DIR/ca.key", "never overwritten"]),
        (&["issue", "--help"], &["30 days", "DIR/NAME.key", "--san", "relay", "default: both"]),
    ] {
        let help = certs(arguments.iter().copied());
        assert_eq!(help.code, 0);
        for word in said {
            assert!(help.stdout.contains(word), "{word}: {}", help.stdout);
        }
    }
    assert!(certs(["--version"]).stdout.starts_with("certs "));
}

struct Outcome {
    code: i32,
    stdout: String,
    stderr: String,
}

fn certs<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Outcome {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_certs")).args(arguments).output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Outcome { code: status.code().expect("no signal"), stdout: text(stdout), stderr: text(stderr) }
}

fn initialized() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(certs(["init", text(dir.path())]).code, 0);
    dir
}

fn identity(dir: &Path, name: &str, role: Role) -> Result<Identity, String> {
    let file = |end: &str| dir.join(format!("{name}{end}"));
    Identity::load(&dir.join("ca.pem"), &file(".pem"), &file(".key"), role).map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("there").permissions().mode() & 0o777
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

//! `certs`: makes the private CA of a cluster's links, and the leaves of its edges and relays.
//!
//! Called by operators, and by whatever renews their leaves. It reads the command line and the clock, leaves the work
//! to the library, and says what it wrote and what comes next.
//!
//! What must stay true: exit codes are 0, 1 failed while running, 2 usage, 78 bad configuration (the directory's CA).

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use certs::dir::{self, LoadError};
use certs::mint::{Authority, Leaf, MintError, San};
use certs::{Role, Roles};
use clap::{Parser, Subcommand};
use humantime::format_rfc3339_seconds;
use proto::id::NodeName;

/// Certificates for the links between edges and relays.
///
/// Make a private CA once, then issue a certificate to each edge and relay. A certificate's name is the node's name,
/// its role says what the node may be. Browsers never see these certificates.
#[derive(Parser)]
#[command(name = "certs", version, after_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a private CA: DIR/ca.pem and DIR/ca.key.
    ///
    /// Every edge and relay needs a copy of ca.pem. Whoever has ca.key can join the cluster as any node: keep it where
    /// certificates are issued and nowhere else. An existing CA is never overwritten.
    #[command(after_help = EXIT_CODES)]
    Init {
        /// Where to keep the CA; made, for its owner only, if it is missing.
        dir: PathBuf,
    },
    /// Issues a certificate to an edge or a relay: DIR/NAME.pem and DIR/NAME.key.
    ///
    /// It is valid for 30 days. To renew it, run the same command again: both files are replaced, with a new key.
    #[command(after_help = EXIT_CODES)]
    Issue {
        /// Where `certs init` made the CA.
        dir: PathBuf,
        /// The node's name, as its --name says: 1 to 63 of a-z, 0-9 and '-'.
        #[arg(long, value_parser = leaf_name)]
        name: NodeName,
        /// What the node may be [default: both].
        #[arg(long)]
        role: Option<Role>,
        /// A further DNS name or IP address in the certificate; repeatable. Links need none.
        #[arg(long = "san", value_name = "DNS|IP")]
        sans: Vec<San>,
    },
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed while running, 2 usage, 78 bad configuration (no CA in DIR, or an unusable one).";

const EXIT_FAILED: u8 = 1;
const EXIT_BAD_CONFIGURATION: u8 = 78;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.command, SystemTime::now()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed stderr is no reason for a panic's exit code.
            let _ = writeln!(std::io::stderr(), "certs: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(command: &Command, now: SystemTime) -> anyhow::Result<()> {
    let report = match command {
        Command::Init { dir } => init(dir, now)?,
        Command::Issue { dir, name, role, sans } => issue(dir, name, *role, sans, now)?,
    };
    let said = std::io::stdout().write_all(report.as_bytes());
    said.context("the files are written, but stdout does not take the report")
}

fn init(dir: &Path, now: SystemTime) -> anyhow::Result<String> {
    let authority = Authority::new(now)?;
    authority.save(dir)?;
    let (cert, key) = dir::paths(dir, dir::CA_STEM);
    let (dir, cert, key) = (dir.display(), cert.display(), key.display());
    let mut report = String::new();
    writeln!(report, "wrote {cert}: the CA's certificate, for every edge and relay")?;
    writeln!(
        report,
        "wrote {key}: the CA's key; it stays here, whoever has it can join the cluster as any node"
    )?;
    writeln!(report, "valid until {}", format_rfc3339_seconds(authority.not_after()))?;
    writeln!(report)?;
    writeln!(report, "Next, a certificate for each node:")?;
    writeln!(report, "  certs issue {dir} --name relay-1 --role relay")?;
    writeln!(report, "  certs issue {dir} --name edge-1 --role edge")?;
    Ok(report)
}

fn issue(
    dir: &Path,
    name: &NodeName,
    role: Option<Role>,
    sans: &[San],
    now: SystemTime,
) -> anyhow::Result<String> {
    let leaf = Authority::load(dir)?.issue(name, role.map_or(Roles::Both, Roles::One), sans, now)?;
    leaf.save(dir)?;
    issued(dir, &leaf, role)
}

fn issued(dir: &Path, leaf: &Leaf, role: Option<Role>) -> anyhow::Result<String> {
    let name = &leaf.name;
    let (ca, _) = dir::paths(dir, dir::CA_STEM);
    let (cert, key) = dir::paths(dir, name.as_str());
    let (ca, cert, key) = (ca.display(), cert.display(), key.display());
    let may_be = role.map_or("an edge or a relay", |role| match role {
        Role::Edge => "an edge",
        Role::Relay => "a relay",
    });
    let (from, until) = (format_rfc3339_seconds(leaf.not_before), format_rfc3339_seconds(leaf.not_after));
    let mut report = String::new();
    writeln!(report, "wrote {cert}: the certificate of {name}, which may be {may_be}")?;
    writeln!(report, "wrote {key}: its key, for {name} only")?;
    writeln!(report, "valid from {from} until {until}")?;
    writeln!(report)?;
    writeln!(report, "Next, give {name} both files and {ca}, and among its other flags:")?;
    if role != Some(Role::Relay) {
        let flags = format!("--name {name} --link-ca {ca} --link-cert {cert} --link-key {key}");
        writeln!(report, "  edge {flags} --relay HOST:PORT")?;
    }
    if role != Some(Role::Edge) {
        writeln!(report, "  relay --name {name} --link-ca {ca} --link-cert {cert} --link-key {key}")?;
    }
    writeln!(report, "Renew it in time: run this command again.")?;
    Ok(report)
}

fn leaf_name(text: &str) -> Result<NodeName, String> {
    if text == dir::CA_STEM {
        return Err("the files of a node called so would be the CA's; choose another name".to_owned());
    }
    NodeName::parse(text).map_err(|_| "a node name has 1 to 63 of a-z, 0-9 and '-'".to_owned())
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let expired = matches!(error.downcast_ref(), Some(MintError::CaExpired(_)));
    if expired || error.is::<LoadError>() { EXIT_BAD_CONFIGURATION } else { EXIT_FAILED }
}

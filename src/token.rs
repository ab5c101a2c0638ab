//! `causeway token`: a connection token for a user, for trying out and for scripts.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Parser;
use node::exit::Exit;
use proto::id::UserId;

/// Prints a connection token (JWT, HS256) for a user
#[derive(Debug, Parser)]
#[command(name = "causeway token", bin_name = "causeway token", version)]
struct Settings {
    /// Whose: 1 to 200 bytes, no comma, no #
    #[arg(long, value_name = "USER", value_parser = |user: &str| UserId::parse(user))]
    user: UserId,

    /// The edges' --token-hmac-secret [default: the one of `causeway dev`]
    #[arg(long, value_name = "SECRET", env = "CAUSEWAY_TOKEN_HMAC_SECRET", hide_env_values = true)]
    secret: Option<String>,

    /// Expires so long from now, such as 1h [default: never]
    #[arg(long, value_name = "DURATION", value_parser = node::config::duration)]
    expires: Option<Duration>,
}

pub(crate) fn run(args: Vec<OsString>) -> Exit {
    let settings = match Settings::try_parse_from(args) {
        Ok(settings) => settings,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Success };
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let expires = settings.expires.map(|expires| now.saturating_add(expires).as_secs());
    let secret = settings.secret.as_deref().unwrap_or_else(|| {
        eprintln!("signed with the secret of `causeway dev`; give another with --secret");
        crate::dev::SECRET
    });
    println!("{}", edge::token::mint(secret, &settings.user, expires));
    Exit::Success
}

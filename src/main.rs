//! `causeway`: a whole cluster in one process, and the operator's tools.

mod bench;
mod check;
mod dev;
mod token;

use std::ffi::OsString;

use node::exit::Exit;

fn main() -> Exit {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    let command =
        args.get(1).and_then(|arg| arg.to_str()).filter(|arg| !arg.starts_with('-')).map(str::to_owned);
    if let Some(command) = &command {
        args.remove(1);
        // What clap calls the program in a usage line.
        args[0] = format!("causeway {command}").into();
    }
    match command.as_deref() {
        None | Some("dev") => dev::run(args),
        Some("token") => token::run(args),
        Some("check") => check::run(args),
        Some("bench") => bench::run(args),
        Some("help") => dev::run(vec!["causeway".into(), "--help".into()]),
        Some(other) => {
            eprintln!(
                "error: {other:?} is no command of causeway; there are dev (the default), token, check and bench"
            );
            Exit::Usage
        }
    }
}

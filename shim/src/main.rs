//! `containerd-shim-garboard-v2`, the program that containerd looks for when a runtime is called `io.containerd.garboard.v2`.
//!
//! It says what it is: `-v` for people, `-info` for containerd (`ctr` and `nerdctl` show it). It starts no container: every other call is
//! refused with one line, which containerd passes on to the user, since it reads stdout and stderr of a shim together.
#![forbid(unsafe_code)]

mod arguments;
mod info;
#[allow(dead_code, reason = "the daemon is not there yet")]
mod mounts;
#[allow(dead_code, reason = "the daemon is not there yet")]
mod options;
mod protobuf;

use std::io::Write;
use std::process::ExitCode;

use arguments::Action;

/// As `argv[0]` of a shim that is called by its name.
const PROGRAM: &str = "containerd-shim-garboard-v2";

fn main() -> ExitCode {
    let done = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Action::Version) => print(version().as_bytes()),
        Ok(Action::Info) => info::runtime_info()
            .map_err(|error| error.to_string())
            .and_then(|info| print(&info)),
        Ok(Action::Task) => Err(
            "this version of garboard cannot be used as a containerd shim yet; use the garboard command as runc-binary"
                .to_owned(),
        ),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // Nobody is left to tell that this failed.
            let _ = writeln!(std::io::stderr(), "{PROGRAM}: {why}");
            ExitCode::FAILURE
        }
    }
}

/// The shape of containerd's own shim.
fn version() -> String {
    let (version, commit) = (env!("CARGO_PKG_VERSION"), env!("GARBOARD_COMMIT"));
    format!("{PROGRAM}:\n  Version:  {version}\n  Revision: {commit}\n")
}

fn print(bytes: &[u8]) -> Result<(), String> {
    std::io::stdout()
        .write_all(bytes)
        .map_err(|error| format!("write to standard output: {error}"))
}

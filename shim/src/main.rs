//! `containerd-shim-garboard-v2`, the program that containerd looks for when a runtime is called `io.containerd.garboard.v2`.
//!
//! containerd calls it by a word: `start` makes sure that a shim serves a container's group, `delete` removes what a dead one has left.
//! Without a word it is that shim ([`daemon`]).
//! `-info` and `-v` say what it is. Replies go to stdout as they are; an error is one line on stderr, which containerd passes on to
//! the user.
#![forbid(unsafe_code)]

mod arguments;
mod daemon;
mod delete;
mod info;
mod log;
mod metrics;
mod mounts;
mod options;
mod publisher;
mod socket;
mod start;
mod stdio;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use arguments::Action;

/// As `argv[0]` of a shim that is called by its name.
const PROGRAM: &str = "containerd-shim-garboard-v2";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|word| word == stdio::LOGGER_WORD)
    {
        return stdio::become_logger(arguments);
    }
    let done = match arguments::parse(std::env::args_os().skip(1)) {
        Ok(Action::Version) => print(version().as_bytes()),
        Ok(Action::Info) => info::runtime_info()
            .map_err(|error| error.to_string())
            .and_then(|info| print(&info)),
        Ok(Action::Start(task)) => start::run(&task).map_err(|error| error.to_string()),
        Ok(Action::Delete(task)) => {
            let deleted = delete::run(&task);
            deleted.warnings.iter().for_each(|warning| say(warning));
            print(&deleted.reply)
        }
        Ok(Action::Serve(task)) => serve(task).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// The long life, begun by `start`: the listening socket is stdin, the bundle's log stderr.
fn serve(task: arguments::Task) -> Result<(), daemon::Error> {
    log::install(&task.id, &task.namespace, task.debug);
    daemon::run(daemon::Config {
        namespace: task.namespace,
        events: std::env::var_os("TTRPC_ADDRESS").map(Into::into),
    })
}

/// One line, whatever the text: containerd prints it as it is.
fn say(what: &str) {
    let line = format!("{PROGRAM}: {}\n", what.replace('\n', "; "));
    // Nobody is left to tell that this failed.
    let _ = std::io::stderr().write_all(line.as_bytes());
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

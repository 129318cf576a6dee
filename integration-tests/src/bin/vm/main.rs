//! The virtual machine's door: `vm run -- CMD…` for one command, `vm start`, `vm exec CMD…`, `vm push FILE… DIR`, `vm stop` for many with one boot.
//!
//! The kept machine is `$GARBOARD_VM`, or one of this build's own: two checkouts never meet. `--user` runs a command as the ordinary user. In the
//! guest `/lab/bin`, which is first in PATH, holds this build's programs and the runtime as `garboard`; `vm start` again, or `vm push FILE…`, for
//! newer ones.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::case::{Done, Failure};
use garboard_integration_tests::vm::machine::{self, Machine, Options};
use garboard_integration_tests::vm::session::{Request, Session};
use garboard_integration_tests::vm::{agent, image};

const USAGE: &str = "usage: vm [--memory MIB] run [--user] [--env NAME=VALUE]... -- COMMAND...
       vm [--memory MIB] start       boots a machine that stays (for an hour without a call)
       vm exec [--user] [--env NAME=VALUE]... [--] COMMAND...
       vm push FILE... [DIRECTORY/]  into /lab/bin, or the directory of the guest
       vm console                    the last lines of its console
       vm stop
       vm build                      only makes the image";

fn main() -> ExitCode {
    match Arguments::parse().and_then(|arguments| arguments.carry_out()) {
        Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(255)),
        Err(failure) => {
            eprintln!("vm: {failure}");
            ExitCode::from(255)
        }
    }
}

struct Arguments {
    verb: String,
    rest: Vec<String>,
    memory: u32,
    as_user: bool,
    environment: Vec<(String, String)>,
}

impl Arguments {
    fn parse() -> Result<Arguments, Failure> {
        let mut parsed = Arguments {
            verb: String::new(),
            rest: Vec::new(),
            memory: machine::MEMORY,
            as_user: false,
            environment: Vec::new(),
        };
        let mut all = std::env::args().skip(1);
        while let Some(arg) = all.next() {
            let mut value = || all.next().ok_or_else(|| Failure::new(USAGE));
            match arg.as_str() {
                "--memory" => parsed.memory = value()?.parse()?,
                "--user" => parsed.as_user = true,
                "--env" => {
                    let text = value()?;
                    let (name, value) = text.split_once('=').ok_or_else(|| Failure::new(USAGE))?;
                    parsed.environment.push((name.to_owned(), value.to_owned()));
                }
                "--" => {
                    parsed.rest.extend(all);
                    break;
                }
                _ if parsed.verb.is_empty() => parsed.verb = arg,
                _ => {
                    parsed.rest.push(arg);
                    // The flags that follow a command's name are the command's.
                    if parsed.verb == "exec" || parsed.verb == "run" {
                        parsed.rest.extend(all);
                        break;
                    }
                }
            }
        }
        Ok(parsed)
    }

    fn carry_out(self) -> Result<i32, Failure> {
        if self.verb == "agent" {
            return agent::serve().map(|()| 0);
        }
        let dir = machine::directory(&name()?)?;
        match self.verb.as_str() {
            "build" => image::get().map(|_| 0),
            "run" => {
                let dir = machine::directory(&format!("once-{}", std::process::id()))?;
                let machine = Machine::start(&dir, &self.options()?)?;
                self.call(&machine.dir)
            }
            "start" => self.start(&dir).map(|()| 0),
            "keep" => Machine::start(&dir, &self.options()?)?.keep().map(|()| 0),
            "exec" => self.call(&dir),
            "push" => self.push(&dir).map(|()| 0),
            "console" => {
                println!("{}", machine::console_tail(&dir));
                Ok(0)
            }
            "stop" => machine::stop(&dir).map(|()| 0),
            _ => Err(Failure::new(USAGE)),
        }
    }

    fn options(&self) -> Result<Options, Failure> {
        let own = std::env::current_exe()?;
        let runtime = match std::env::var_os("GARBOARD_TEST_RUNTIME") {
            Some(path) => PathBuf::from(path),
            None => own.with_file_name("../release/garboard"),
        };
        Ok(Options {
            memory: self.memory,
            runtime,
        })
    }

    /// The machine is kept by a process of its own, which outlives this one and nothing else.
    fn start(&self, dir: &Path) -> Done {
        image::get()?;
        if machine::is_alive(dir) {
            machine::stop(dir)?;
        }
        let mut keeper = Command::new("setsid");
        keeper
            .arg(std::env::current_exe()?)
            .args(["--memory", &self.memory.to_string(), "keep"])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let errors = dir.with_extension("log");
        if let Some(parent) = errors.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&errors, "")?;
        keeper.stderr(std::fs::File::options().append(true).open(&errors)?);
        let mut keeper = keeper.spawn()?;
        while !dir.join("ready").try_exists()? {
            if keeper.try_wait()?.is_some() {
                let text = std::fs::read_to_string(&errors)?;
                return Err(Failure::new(format!("it did not start: {text}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn call(&self, dir: &Path) -> Result<i32, Failure> {
        if self.rest.is_empty() {
            return Err(Failure::new(USAGE));
        }
        let request = Request::Run {
            command: self.rest.clone(),
            as_user: self.as_user,
            environment: self.environment.clone(),
        };
        session(dir)?.call(
            &request,
            std::io::stdin(),
            &mut std::io::stdout(),
            &mut std::io::stderr(),
            None,
        )
    }

    fn push(&self, dir: &Path) -> Done {
        let (files, target) = match self.rest.split_last() {
            Some((last, files)) if last.ends_with('/') => (files, last.as_str()),
            _ => (self.rest.as_slice(), "/lab/bin/"),
        };
        for file in files {
            let name = Path::new(file)
                .file_name()
                .ok_or_else(|| Failure::new(USAGE))?
                .to_string_lossy();
            let opened = machine::stripped(Path::new(file), &dir.join("pushed"))
                .map_err(|error| Failure::new(format!("{file}: {error}")))?;
            let request = Request::Write {
                path: format!("{target}{name}"),
                mode: opened.metadata()?.permissions().mode() & 0o7777,
            };
            let status = session(dir)?.call(
                &request,
                opened,
                &mut std::io::sink(),
                &mut std::io::stderr(),
                None,
            )?;
            if status != 0 {
                return Err(Failure::new(format!("cannot push {file}")));
            }
        }
        Ok(())
    }
}

fn session(dir: &Path) -> Result<Session, Failure> {
    if !machine::is_alive(dir) {
        return Err(Failure::new("no machine runs: vm start"));
    }
    let until = Instant::now() + Duration::from_secs(60);
    while !dir.join("ready").try_exists()? && machine::is_alive(dir) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    Session::open(dir, until)
}

/// The kept machine's name: what `$GARBOARD_VM` says, or a number made of this program's path.
fn name() -> Result<String, Failure> {
    match std::env::var("GARBOARD_VM") {
        Ok(name) if !name.is_empty() && !name.contains('/') => Ok(name),
        _ => {
            let own = std::env::current_exe()?;
            Ok(format!(
                "{:016x}",
                image::number(own.as_os_str().as_encoded_bytes())
            ))
        }
    }
}

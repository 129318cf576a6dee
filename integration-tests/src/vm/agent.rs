//! The guest's end of a call: it is started by the guest's systemd from the second disk, and runs what the host asks for on each port.
//!
//! A command gets a cgroup of its own, or a scope of the ordinary user's manager, and is killed by it when the host closes the session early.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::machine::in_lab;
use super::session::Request;
use super::wire::{Frame, Kind};
use super::{PORT_NAME, PORTS, USER};
use crate::case::{Done, Failure};

const PATH: &str = "/lab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Serves every port until the guest ends.
pub fn serve() -> Done {
    let own = own_cgroup()?;
    let threads: Vec<_> = (0..PORTS)
        .map(|port| {
            let own = own.clone();
            std::thread::spawn(move || serve_port(&format!("{PORT_NAME}{port}"), &own))
        })
        .collect();
    for thread in threads {
        thread
            .join()
            .map_err(|_| Failure::new("a port's thread has panicked"))??;
    }
    Ok(())
}

/// This service's cgroup. The agent goes one level down, so that the commands can have cgroups beside it.
fn own_cgroup() -> Result<PathBuf, Failure> {
    let path = crate::cgroups::of_process(std::process::id().cast_signed(), "")?;
    let dir = Path::new("/sys/fs/cgroup").join(path.strip_prefix("/").unwrap_or(&path));
    fs::create_dir_all(dir.join("agent"))?;
    fs::write(
        dir.join("agent/cgroup.procs"),
        std::process::id().to_string(),
    )?;
    Ok(dir)
}

/// What a session is at: each ends the one before.
enum At {
    Nothing,
    Running {
        session: u32,
        input: mpsc::Sender<Vec<u8>>,
        child: Arc<Mutex<Option<i32>>>,
    },
    Writing {
        session: u32,
        file: File,
        path: String,
    },
}

fn serve_port(name: &str, own: &Path) -> Done {
    let path = device(name)?;
    let port = File::options().read(true).write(true).open(&path)?;
    let to = Arc::new(Mutex::new(port.try_clone()?));
    let mut from = BufReader::with_capacity(64 * 1024, port);
    let mut at = At::Nothing;
    loop {
        let Some(frame) = Frame::receive(&mut from)? else {
            // Nobody is connected: whoever was has gone, and a read does not wait for the next.
            at.end();
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let session = frame.session;
        let step = match frame.kind {
            Kind::Open => {
                at.end();
                open(&frame, &to, own).map(|next| at = next)
            }
            Kind::Input => at.input(session, &frame.payload),
            Kind::InputEnd => at.input_ends(session, &to),
            Kind::Output | Kind::Errors | Kind::Exit => Ok(()),
        };
        if let Err(failure) = step {
            at.end();
            let text = format!("vm: in the guest: {failure}\n");
            reply(&to, session, Kind::Errors, text.as_bytes())?;
            reply(&to, session, Kind::Exit, &255_i32.to_le_bytes())?;
        }
    }
}

/// The port is found without udev, which may not have come to it yet.
fn device(name: &str) -> Result<PathBuf, Failure> {
    for _ in 0..600 {
        for entry in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let found = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
            if found.trim_end() == name {
                return Ok(Path::new("/dev").join(entry.file_name()));
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Err(Failure::new(format!("no port {name}")))
}

fn open(frame: &Frame, to: &Arc<Mutex<File>>, own: &Path) -> Result<At, Failure> {
    let session = frame.session;
    match Request::from_json(&frame.payload)? {
        Request::Write { path, mode } => {
            let file = File::options()
                .write(true)
                .create(true)
                .truncate(true)
                .open(unfinished(&path))?;
            file.set_permissions(fs::Permissions::from_mode(mode))?;
            Ok(At::Writing {
                session,
                file,
                path,
            })
        }
        Request::Run {
            command,
            as_user,
            environment,
        } => {
            let mut command = if as_user {
                for_user(&command)?
            } else {
                for_root(&command, own)?
            };
            command
                .env("GARBOARD_TEST_GUEST", "1")
                .env("GARBOARD_TEST_RUNTIME", in_lab("garboard"))
                // The guest's own root is a Debian.
                .env("GARBOARD_TEST_DEBIAN", "/")
                .envs(environment)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            run(command.spawn()?, session, to)
        }
    }
}

fn unfinished(path: &str) -> String {
    format!("{path}.unfinished")
}

fn for_root(words: &[String], own: &Path) -> Result<Command, Failure> {
    for entry in fs::read_dir(own)?.flatten() {
        // Those of calls that are over; the others refuse.
        let _ = fs::remove_dir(entry.path());
    }
    let dir = own.join(format!("call{}", CALLS.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir(&dir)?;
    let mut command = Command::new("/bin/sh");
    command
        .args([
            "-c",
            "echo 0 >\"$1/cgroup.procs\" && shift && exec \"$@\"",
            "sh",
        ])
        .arg(dir)
        .args(words)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .current_dir("/root");
    Ok(command)
}

/// Below the user's own manager, in a scope that is delegated to the command: what a login shell's command is, and what may make cgroups.
fn for_user(words: &[String]) -> Result<Command, Failure> {
    for _ in 0..600 {
        if Path::new("/run/user/1000/systemd/private").try_exists()? {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--init-groups", "--"])
        .args([
            "systemd-run",
            "--user",
            "--scope",
            "--quiet",
            "--collect",
            "--property=Delegate=yes",
            "--",
        ])
        .args(words)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", format!("/home/{USER}"))
        .env("USER", USER)
        .env("XDG_RUNTIME_DIR", "/run/user/1000")
        .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/1000/bus")
        .current_dir(format!("/home/{USER}"));
    Ok(command)
}

fn run(mut child: Child, session: u32, to: &Arc<Mutex<File>>) -> Result<At, Failure> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    let mut stdin = child.stdin.take();
    std::thread::spawn(move || {
        while let (Ok(bytes), Some(pipe)) = (receiver.recv(), stdin.as_mut()) {
            // It need not read what it is given.
            if pipe.write_all(&bytes).is_err() {
                break;
            }
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pumps = [
        stdout.map(|pipe| pump(pipe, Kind::Output, session, to, &over)),
        stderr.map(|pipe| pump(pipe, Kind::Errors, session, to, &over)),
    ];
    let pid = Arc::new(Mutex::new(Some(child.id().cast_signed())));
    let at = At::Running {
        session,
        input: sender,
        child: Arc::clone(&pid),
    };
    let to = Arc::clone(to);
    std::thread::spawn(move || -> Done {
        wait_ended(child.id())?;
        // From here on the number may be another process's.
        *lock(&pid) = None;
        let status = child.wait()?;
        over.store(true, Ordering::Release);
        for pump in pumps.into_iter().flatten() {
            let _ = pump.join();
        }
        let code = status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        reply(&to, session, Kind::Exit, &code.to_le_bytes())
    });
    Ok(at)
}

/// Waits for the end and leaves the status for later.
fn wait_ended(pid: u32) -> Done {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    Ok(())
}

/// Sends what comes through a pipe, until its end; or, once the command is over, until it is empty: a container that still runs may hold it.
fn pump(
    mut pipe: impl Read + std::os::fd::AsFd + Send + 'static,
    kind: Kind,
    session: u32,
    to: &Arc<Mutex<File>>,
    over: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Done> {
    let (to, over) = (Arc::clone(to), Arc::clone(over));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let ended = over.load(Ordering::Acquire);
            let mut polled = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(50_u8))? == 0 {
                if ended {
                    return Ok(());
                }
                continue;
            }
            let count = pipe.read(&mut buffer)?;
            if count == 0 {
                return Ok(());
            }
            reply(&to, session, kind, &buffer[..count])?;
        }
    })
}

impl At {
    fn input(&mut self, of: u32, bytes: &[u8]) -> Done {
        match self {
            At::Running { session, input, .. } if *session == of => {
                // A command that is over takes no more.
                let _ = input.send(bytes.to_vec());
            }
            At::Writing { session, file, .. } if *session == of => file.write_all(bytes)?,
            _ => {}
        }
        Ok(())
    }

    fn input_ends(&mut self, of: u32, to: &Arc<Mutex<File>>) -> Done {
        match self {
            At::Running { session, input, .. } if *session == of => {
                // The last sender gone closes the pipe.
                *input = mpsc::channel().0;
            }
            At::Writing { session, path, .. } if *session == of => {
                // A program that runs from there keeps the old file.
                fs::rename(unfinished(path), path)?;
                *self = At::Nothing;
                reply(to, of, Kind::Exit, &0_i32.to_le_bytes())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Kills what still runs, with all that is in its cgroup.
    fn end(&mut self) {
        if let At::Running { child, .. } = self
            && let Some(pid) = *lock(child)
            && let Ok(path) = crate::cgroups::of_process(pid, "")
        {
            let dir = Path::new("/sys/fs/cgroup").join(path.strip_prefix("/").unwrap_or(&path));
            // It may be over meanwhile: that is what is wanted.
            if !dir.ends_with("agent") {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
            }
        }
        *self = At::Nothing;
    }
}

fn reply(to: &Arc<Mutex<File>>, session: u32, kind: Kind, payload: &[u8]) -> Done {
    let frame = Frame {
        session,
        kind,
        payload: payload.to_vec(),
    };
    Ok(frame.send(&mut *lock(to))?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

//! Real fifos, files, terminals and processes: a process is a child with the descriptors of [`Opened`], the client is the test, and the
//! loop is the strictest there is, edge-triggered epoll.

mod fifos;
mod files;
pub mod terminals;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{Timespec, epoll};
use rustix::fs::{CWD, FileType, Mode};

use super::*;

/// Longer than anything takes, shorter than the patience of who waits for the tests.
const STUCK: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// A directory of its own for each test, as the bundle.
pub struct Place(PathBuf);

impl Place {
    pub fn new() -> Place {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "garboard-shim-stdio-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a directory");
        Place(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    /// Makes a fifo, and gives its path.
    pub fn fifo(&self, name: &str) -> String {
        let path = self.text(name);
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a fifo");
        path
    }

    pub fn request<'a>(&'a self, [stdin, stdout, stderr]: [&'a str; 3]) -> Request<'a> {
        Request {
            stdin,
            stdout,
            stderr,
            terminal: false,
            io_uid: 0,
            io_gid: 0,
            container: "c1",
            namespace: "n1",
            bundle: &self.0,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Most clients here open their end afterwards.
pub fn open(request: &Request<'_>) -> Result<Opened, Error> {
    super::open::open_within(request, std::time::Duration::from_millis(5))
}

/// A shell with the descriptors that were opened.
pub fn process(script: &str, fds: [Option<OwnedFd>; 3]) -> Child {
    let [stdin, stdout, stderr] = fds.map(|fd| Stdio::from(fd.expect("a descriptor")));
    Command::new("/bin/sh")
        .args(["-c", script])
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("a shell")
}

/// Reads a fifo to its end, as a client does, whose end is open before this returns.
pub fn reader(path: &str) -> JoinHandle<String> {
    let mut client = client(path);
    thread::spawn(move || {
        let mut all = String::new();
        client.read_to_string(&mut all).expect("UTF-8");
        all
    })
}

/// The client's end for reading. There is a writer, so this does not wait.
pub fn client(path: &str) -> File {
    File::open(path).expect("a fifo")
}

pub fn writer(path: &str) -> File {
    OpenOptions::new().write(true).open(path).expect("a fifo")
}

/// The loop. Gives back the pumps that are not done when all of `direction` are.
pub fn drive(pumps: Vec<Pump>, direction: Direction) -> Vec<Pump> {
    drive_until(pumps, |pumps| {
        pumps.iter().all(|pump| pump.direction() != direction)
    })
}

pub fn drive_until(mut pumps: Vec<Pump>, enough: impl Fn(&[Pump]) -> bool) -> Vec<Pump> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    let mut waits = HashMap::new();
    for pump in &pumps {
        add(&poll, pump.source(), epoll::EventFlags::IN);
        if pump.sink().as_raw_fd() != pump.source().as_raw_fd() {
            add(&poll, pump.sink(), epoll::EventFlags::OUT);
        }
    }
    loop {
        pumps.retain_mut(|pump| {
            let progress = turn(pump);
            waits.insert(pump.source().as_raw_fd(), progress);
            if progress == Progress::Done {
                for end in [pump.source(), pump.sink()] {
                    let _ = epoll::delete(&poll, end);
                }
            }
            progress != Progress::Done
        });
        if enough(&pumps) {
            return pumps;
        }
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }; 8];
        let count = epoll::wait(&poll, &mut events, Some(&STUCK)).expect("epoll_wait");
        assert!(count > 0, "stuck: {waits:?}");
    }
}

/// Until it waits for something.
pub fn turn(pump: &mut Pump) -> Progress {
    loop {
        match pump.advance() {
            Progress::More => {}
            progress => return progress,
        }
    }
}

fn add(poll: &OwnedFd, end: impl AsFd, flags: epoll::EventFlags) {
    epoll::add(
        poll,
        end,
        epoll::EventData::new_u64(0),
        flags | epoll::EventFlags::ET,
    )
    .expect("epoll_ctl");
}

pub fn succeeded(mut child: Child) {
    assert!(child.wait().expect("a child").success());
}

fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("there").permissions().mode() & 0o7777
}

//! Terminals.

use std::io::Write;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::*;

/// A master and its other end.
pub fn terminal() -> (OwnedFd, OwnedFd) {
    let master =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&master).expect("granted");
    unlockpt(&master).expect("unlocked");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let path = name.to_str().expect("UTF-8").to_owned();
    let slave = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("its other end");
    (master, slave.into())
}

/// The other end as all three descriptors.
pub fn three(slave: OwnedFd) -> [Option<OwnedFd>; 3] {
    let copy = || Some(slave.try_clone().expect("another"));
    [copy(), copy(), copy()]
}

#[test]
fn a_terminal_speaks_both_ways_and_ends_with_its_process() {
    let place = Place::new();
    let (stdin, out) = (place.fifo("in"), place.fifo("out"));
    let mut request = place.request([&stdin, &out, ""]);
    request.terminal = true;
    let opened = open(&request).expect("opened");
    assert!(opened.fds.iter().all(Option::is_none));
    let read = reader(&out);
    let (master, slave) = terminal();
    let child = process("read x; echo got $x >&2; tty > /dev/null", three(slave));
    let running = opened.streams.into_pumps(Some(master)).expect("pumps");
    assert!(running.terminal.is_some());
    writer(&stdin).write_all(b"word\n").expect("written");
    let left = drive(running.pumps, Direction::Output);
    assert_eq!(left.len(), 1, "stdin is not closed");
    assert_eq!(left[0].direction(), Direction::Input);
    assert_eq!(read.join().expect("read"), "word\r\ngot word\r\n");
    succeeded(child);
}

#[test]
fn a_terminal_that_nobody_reads_loses_nothing() {
    const LINES: usize = 60_000;
    let place = Place::new();
    let out = place.fifo("out");
    let mut request = place.request(["", &out, ""]);
    request.terminal = true;
    let opened = open(&request).expect("opened");
    let (master, slave) = terminal();
    let child = process(&format!("seq {LINES}"), three(slave));
    let mut pumps = opened
        .streams
        .into_pumps(Some(master))
        .expect("pumps")
        .pumps;
    let full = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while turn(&mut pumps[0]) != Progress::Sink {
        assert!(std::time::Instant::now() < full, "never full");
        thread::yield_now();
    }
    let read = reader(&out);
    drive(pumps, Direction::Output);
    let wanted: String = (1..=LINES).map(|line| format!("{line}\r\n")).collect();
    let all = read.join().expect("read");
    assert!(all == wanted, "{} bytes of {}", all.len(), wanted.len());
    succeeded(child);
}

#[test]
fn a_terminal_without_output_is_read_all_the_same() {
    let place = Place::new();
    let mut request = place.request(["", "", ""]);
    request.terminal = true;
    let opened = open(&request).expect("opened");
    let (master, slave) = terminal();
    let child = process("seq 10000", three(slave));
    drive(
        opened
            .streams
            .into_pumps(Some(master))
            .expect("pumps")
            .pumps,
        Direction::Output,
    );
    succeeded(child);
}

#[test]
fn a_terminal_into_a_log_file() {
    let place = Place::new();
    let uri = format!("file://{}", place.text("log"));
    let mut request = place.request(["", &uri, ""]);
    request.terminal = true;
    let opened = open(&request).expect("opened");
    let (master, slave) = terminal();
    let child = process("echo out", three(slave));
    drive(
        opened
            .streams
            .into_pumps(Some(master))
            .expect("pumps")
            .pumps,
        Direction::Output,
    );
    succeeded(child);
    assert_eq!(
        std::fs::read_to_string(place.path("log")).expect("a log"),
        "out\r\n"
    );
}

/// What the daemon does for a client whose stdin ended (`kubectl exec -it` of somebody who is gone): the shell gets SIGHUP.
#[test]
fn the_end_of_stdin_is_told_and_a_closed_terminal_hangs_up() {
    let place = Place::new();
    let (stdin, out) = (place.fifo("in"), place.fifo("out"));
    let mut request = place.request([&stdin, &out, ""]);
    request.terminal = true;
    let opened = open(&request).expect("opened");
    let (master, slave) = terminal();
    let mut child = process("read x; echo never", three(slave));
    let mut running = opened.streams.into_pumps(Some(master)).expect("pumps");
    drop(running.stdin.take());
    let left = drive(running.pumps, Direction::Input);
    assert!(
        child.try_wait().expect("a child").is_none(),
        "it waits for a line"
    );
    drop((left, running.terminal.take()));
    // Its terminal is not its session's here, so it is the end of the file that ends it.
    child.wait().expect("a child");
}

#[test]
fn a_terminal_that_did_not_come_is_an_error() {
    let place = Place::new();
    let mut request = place.request(["", "", ""]);
    request.terminal = true;
    let error = open(&request)
        .expect("opened")
        .streams
        .into_pumps(None)
        .expect_err("refused");
    assert_eq!(error.to_string(), "the process has no terminal to copy");
}

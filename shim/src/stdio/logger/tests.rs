//! A logging program that is a shell, behind the real step between.

use std::collections::BTreeSet;

use super::*;
use crate::stdio::tests::terminals::{terminal, three};
use crate::stdio::tests::{Place, drive, process, succeeded};
use crate::stdio::{Direction, Opened, open};

const STEP_BETWEEN: &str = "stdio::logger::tests::the_step_between";

/// What the test harness has to be told so that it is [`the_step_between`]; everything behind is no flag of its own.
pub fn as_test(mut command: Command) -> Command {
    command.args(["--exact", "--nocapture", STEP_BETWEEN, "--"]);
    command
}

/// Not a test by itself: the program that `ourselves` starts.
#[test]
fn the_step_between() {
    let mut arguments = std::env::args_os().skip_while(|argument| argument != WORD);
    if arguments.next().is_some() {
        become_logger(arguments);
        panic!("it returns only on failure");
    }
}

/// The URI of a shell that runs `script` as a logging program, with `$1` and `$2` behind it.
fn shell(scheme: &str, script: &str) -> String {
    let script: String = script.bytes().map(|byte| format!("%{byte:02x}")).collect();
    format!("{scheme}:///bin/sh?-c={script}&name=a+word&env.EXTRA=e")
}

fn start(place: &Place, uri: &str) -> Result<Opened, Error> {
    open(&place.request(["", uri, uri]))
}

fn gone(logger: &mut Logger) {
    assert_eq!(
        wait_for(logger.fd(), Duration::from_secs(20)),
        Ok(true),
        "it stays"
    );
    assert!(logger.reap());
}

#[test]
fn a_logging_program_reads_both_streams() {
    let place = Place::new();
    let script = format!(
        "cd {}; echo $CONTAINER_ID $CONTAINER_NAMESPACE $EXTRA $0 $1 > who; env > env; null=$(readlink /proc/$$/fd/[012]); echo $null > null; \
         pipes=$(readlink /proc/$$/fd/[345]); echo $pipes > pipes; cat <&4 > err 5>&- & cat <&3 > out 5>&- & exec 5>&-; wait; echo > all",
        place.text("")
    );
    let opened = start(&place, &shell("binary", &script)).expect("ready");
    let read = |name| std::fs::read_to_string(place.path(name)).expect(name);
    // It was ready, so this is there.
    assert_eq!(read("who"), "c1 n1 e name a word\n");
    assert_eq!(read("null"), "/dev/null /dev/null /dev/null\n");
    let pipes: BTreeSet<_> = read("pipes")
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    assert_eq!(pipes.len(), 3, "{pipes:?}");
    assert!(
        pipes.iter().all(|end| end.starts_with("pipe:[")),
        "{pipes:?}"
    );
    assert!(
        !read("env").contains("CARGO"),
        "nothing of our own environment"
    );
    let child = process("echo out; echo err >&2", opened.fds);
    let mut running = opened.streams.into_pumps(None).expect("pumps");
    assert!(running.pumps.is_empty(), "it reads by itself");
    succeeded(child);
    gone(running.logger.as_mut().expect("a program"));
    assert_eq!(
        (read("out"), read("err"), read("all")),
        ("out\n".into(), "err\n".into(), "\n".into())
    );
}

#[test]
fn a_terminal_goes_to_the_first_of_them() {
    let place = Place::new();
    let uri = shell(
        "binary-v2",
        &format!("echo >&5; exec 5>&-; cat <&3 > {}", place.text("out")),
    );
    let mut request = place.request(["", &uri, ""]);
    request.terminal = true;
    let opened = open(&request).expect("ready");
    let (master, slave) = terminal();
    let child = process("echo out", three(slave));
    let mut running = opened.streams.into_pumps(Some(master)).expect("pumps");
    drive(running.pumps, Direction::Output);
    succeeded(child);
    gone(running.logger.as_mut().expect("a program"));
    assert_eq!(
        std::fs::read_to_string(place.path("out")).expect("a log"),
        "out\r\n"
    );
}

#[test]
fn a_program_that_died_does_not_stop_its_terminal() {
    let place = Place::new();
    let uri = shell("binary", "exit");
    let mut request = place.request(["", &uri, ""]);
    request.terminal = true;
    let opened = open(&request).expect("ready");
    let (master, slave) = terminal();
    let child = process("seq 100000", three(slave));
    let mut running = opened.streams.into_pumps(Some(master)).expect("pumps");
    gone(running.logger.as_mut().expect("a program"));
    drive(running.pumps, Direction::Output);
    succeeded(child);
}

#[test]
fn a_program_that_is_not_ready_is_an_error() {
    let place = Place::new();
    for (uri, said) in [
        (
            "binary:///no/such/program".to_owned(),
            "stdout: logging program /no/such/program: execve: No such file or directory (os error 2)",
        ),
        (
            "binary:///etc/passwd".to_owned(),
            "stdout: logging program /etc/passwd: execve: Permission denied (os error 13)",
        ),
        (
            shell("binary-v2", "exit 3"),
            "stdout: logging program /bin/sh: closed descriptor 5 without writing to it",
        ),
    ] {
        assert_eq!(start(&place, &uri).expect_err("refused").to_string(), said);
    }
    let (ready, _held) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let why = wait_ready(&ready, Duration::from_secs(1), false).expect_err("never ready");
    assert_eq!(
        why.to_string(),
        "is not ready after 1 s: it has to close descriptor 5"
    );
}

#[test]
fn it_is_asked_to_end_and_then_made_to() {
    let place = Place::new();
    let uri = shell(
        "binary",
        "trap '' TERM; exec 5>&-; while :; do sleep 1 <&- 3<&- 4<&-; done",
    );
    let mut opened = start(&place, &uri).expect("ready");
    let mut logger = opened.streams.logger.take().expect("a program");
    let now = Instant::now();
    logger.terminate(now);
    assert_eq!(logger.deadline(), Some(now + PATIENCE));
    logger.tick(now + PATIENCE / 2);
    assert!(!logger.reap());
    logger.tick(now + PATIENCE);
    gone(&mut logger);
}

#[test]
fn dropping_it_leaves_nothing_behind() {
    let place = Place::new();
    let opened = start(&place, &shell("binary", "exec 5>&-; exec cat <&3")).expect("ready");
    let pidfd = opened
        .streams
        .logger
        .as_ref()
        .expect("a program")
        .pidfd
        .try_clone();
    drop(opened);
    let found = waitid(
        WaitId::PidFd(pidfd.expect("another").as_fd()),
        WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
    );
    assert_eq!(found.expect_err("no child"), Errno::CHILD);
}

//! Log files, and other things that are no fifos.

use super::*;

#[test]
fn a_log_file_is_made_and_appended_to() {
    let place = Place::new();
    let uri = format!("file://{}", place.text("logs/of%20c1/log"));
    let log = place.path("logs/of c1/log");
    for _ in 0..2 {
        let opened = open(&place.request(["", &uri, &uri])).expect("opened");
        let child = process("echo out; echo err >&2; echo end", opened.fds);
        drive(
            opened.streams.into_pumps(None).expect("pumps").pumps,
            Direction::Output,
        );
        succeeded(child);
    }
    let text = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(text, "out\nerr\nend\n".repeat(2));
    assert_eq!((mode(&log), mode(&place.path("logs"))), (0o644, 0o755));
}

#[test]
fn two_log_files_are_two() {
    let place = Place::new();
    let [out, err] = ["out", "err"].map(|name| format!("file://{}", place.text(name)));
    let opened = open(&place.request(["", &out, &err])).expect("opened");
    let child = process("echo out; echo err >&2", opened.fds);
    drive(
        opened.streams.into_pumps(None).expect("pumps").pumps,
        Direction::Output,
    );
    succeeded(child);
    for name in ["out", "err"] {
        let text = std::fs::read_to_string(place.path(name)).expect("a log");
        assert_eq!(text, format!("{name}\n"));
    }
}

#[test]
fn a_full_disk_does_not_stop_the_process() {
    let place = Place::new();
    let opened = open(&place.request(["", "/dev/full", "/dev/null"])).expect("opened");
    let child = process("seq 100000", opened.fds);
    drive(
        opened.streams.into_pumps(None).expect("pumps").pumps,
        Direction::Output,
    );
    succeeded(child);
}

#[test]
fn a_dropped_pump_lets_go_of_the_process() {
    let place = Place::new();
    let uri = format!("file://{}", place.text("log"));
    let mut opened = open(&place.request(["", &uri, ""])).expect("opened");
    let held = opened.fds[1].take().expect("a pipe");
    let mut pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
    assert_eq!(turn(&mut pumps[0]), Progress::Source);
    drop(pumps);
    let mut end = [rustix::event::PollFd::new(
        &held,
        rustix::event::PollFlags::empty(),
    )];
    let ready = rustix::event::poll(&mut end, Some(&STUCK)).expect("poll");
    assert_eq!(ready, 1, "the thread still reads");
}

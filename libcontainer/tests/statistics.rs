//! What a real container is told to use, and a real want of memory: watched, counted, and survived by the handle.

mod bundles;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use bundles::Place;
use libcontainer::{CreateOptions, ErrorKind, ExitStatus, OomEvent, OomEvents, Runtime};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;

const LIMIT: u64 = 32 << 20;

/// Everything until the end, each as it came.
fn until_ended(events: &mut OomEvents) -> Vec<OomEvent> {
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut seen = Vec::new();
    while Instant::now() < deadline {
        while let Some(event) = events.next_event().expect("next_event") {
            seen.push(event);
        }
        if seen.last() == Some(&OomEvent::Ended) {
            return seen;
        }
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(
            &mut [PollFd::new(&events.as_fd(), PollFlags::IN)],
            Some(&second),
        )
        .expect("poll");
    }
    panic!("no end: {seen:?}");
}

#[test]
fn want_of_memory_is_told_counted_and_read() {
    let place = Place::new("statistics-oom");
    let runtime = Runtime::open(&place.root()).expect("state root");
    // Keeps all that it has read, in search of the last lines.
    let mut config = place.config("soom", &["busybox", "tail", "/dev/zero"]);
    config["linux"]["resources"]["memory"] = json!({"limit": LIMIT, "swap": LIMIT});
    let bundle = place.bundle(&config);
    let container = match runtime.create("soom", &bundle, &CreateOptions::default()) {
        Ok(container) => container,
        Err(why) if why.kind() == ErrorKind::Unsupported => {
            eprintln!("SKIPPED: {why}");
            return;
        }
        Err(why) => panic!("{why}"),
    };
    let mut events = container.oom_events().expect("oom_events");
    assert_eq!(events.next_event().expect("nothing yet"), None);
    assert_eq!(container.oom_kills().expect("oom_kills"), Some(0));
    let before = container.statistics().expect("statistics");
    let usage = before.memory.usage.expect("a memory controller");
    assert_eq!(usage.limit, Some(LIMIT));
    assert!(usage.usage > 0 && usage.usage < LIMIT, "{usage:?}");
    assert_eq!(before.pids.map(|pids| pids.current), Some(1));

    container.start().expect("start");
    assert_eq!(container.wait().expect("wait"), ExitStatus::Signaled(9));
    // The shim's question, before the exit is told.
    assert_eq!(container.oom_kills().expect("oom_kills"), Some(1));
    let seen = until_ended(&mut events);
    let (last, first) = seen.split_last().expect("the end");
    assert_eq!(*last, OomEvent::Ended);
    assert!(
        !first.is_empty()
            && first
                .iter()
                .all(|event| matches!(event, OomEvent::OutOfMemory { .. })),
        "{seen:?}"
    );
    assert_eq!(events.next_event().expect("over"), None);

    let after = container
        .statistics()
        .expect("of a container that has ended");
    assert!(after.cpu.usage > before.cpu.usage);
    let kills = [
        after.memory.events.map(|events| events.oom_kill),
        after.memory.oom_control.map(|control| control.oom_kill),
    ];
    assert_eq!(kills.iter().flatten().copied().collect::<Vec<_>>(), [1]);
    runtime.delete("soom", false).expect("delete");
    assert_eq!(container.oom_kills().expect("nothing to count"), None);
    let gone = container.statistics().expect_err("the cgroup is gone");
    assert_eq!(gone.kind(), ErrorKind::NotFound);
}

#[test]
fn a_container_that_just_ends_has_no_want_of_memory() {
    let place = Place::new("statistics-end");
    let runtime = Runtime::open(&place.root()).expect("state root");
    let bundle = place.bundle(&place.config("send", &["true"]));
    let container = runtime
        .create("send", &bundle, &CreateOptions::default())
        .expect("create");
    let mut events = match container.oom_events() {
        Ok(events) => events,
        Err(why) if why.kind() == ErrorKind::Unsupported => {
            eprintln!("SKIPPED: {why}");
            return runtime.delete("send", true).expect("delete");
        }
        Err(why) => panic!("{why}"),
    };
    container.start().expect("start");
    assert_eq!(until_ended(&mut events), [OomEvent::Ended]);
    // A watch that begins after the end says so at once.
    assert_eq!(container.wait().expect("wait"), ExitStatus::Exited(0));
    let mut late = container.oom_events().expect("the cgroup is still there");
    assert_eq!(
        late.next_event().expect("next_event"),
        Some(OomEvent::Ended)
    );
    runtime.delete("send", false).expect("delete");
}

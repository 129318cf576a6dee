//! A container's readiness on its way to the host: from a program inside, as an ordinary user, to a socket that stands for systemd's.

mod bundles;

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bundles::Place;
use libcontainer::{CreateOptions, NotifyProxy, Runtime};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};

/// Says more than it should: only its readiness may come out. Perl, since busybox has no program for datagrams; perl-base is essential.
const READY: &str = r#"use Socket; socket(S, AF_UNIX, SOCK_DGRAM, 0) or die "socket: $!";
    send(S, "STATUS=up\nMAINPID=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!";
    send(S, "WATCHDOG=trigger\nREADY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "send: $!"; sleep 1000"#;

fn config(place: &Place, name: &str, args: &[&str]) -> Value {
    let mut config = place.config(name, args);
    config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    let mounts = config["mounts"].as_array_mut().expect("mounts");
    for directory in ["/usr", "/lib", "/lib64"] {
        mounts.push(json!({"destination": directory, "source": directory, "type": "bind", "options": ["rbind", "ro"]}));
    }
    config
}

fn options(host: impl Into<PathBuf>) -> CreateOptions {
    CreateOptions {
        notify_socket: Some(host.into()),
        ..CreateOptions::default()
    }
}

/// The next `count` messages, and what their order must be.
fn receive(host: &UnixDatagram, count: usize) -> Vec<String> {
    host.set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    let mut bytes = [0; 4096];
    (0..count)
        .map(|_| {
            // An fd that comes along is closed by the kernel: that is how the barrier is lifted.
            let length = host.recv(&mut bytes).expect("message");
            String::from_utf8_lossy(&bytes[..length]).into_owned()
        })
        .collect()
}

#[test]
fn start_waits_until_the_program_is_ready_and_the_host_has_read_it() {
    let place = Place::new("notify-start");
    let path = place.path().join("host.sock");
    let host = UnixDatagram::bind(&path).expect("host socket");
    let runtime = Runtime::open(&place.root()).expect("state root");
    let bundle = place.bundle(&config(&place, "nstart", &["/usr/bin/perl", "-e", READY]));
    let container = runtime
        .create("nstart", &bundle, &options(&path))
        .expect("create");
    let proxy = container
        .start_notifying(&path)
        .expect("start")
        .expect("created with a socket");
    let waiter = std::thread::spawn(move || proxy.wait());
    let expected = vec![
        format!("READY=1\nMAINPID={}\n", container.pid()),
        "BARRIER=1".to_owned(),
    ];
    assert_eq!(receive(&host, 2), expected);
    waiter.join().expect("no panic").expect("told");
    runtime.delete("nstart", true).expect("delete");
    assert_eq!(bundles::left_cgroups("nstart"), Vec::<PathBuf>::new());
}

#[test]
fn run_has_the_socket_before_the_program_and_never_blocks_a_loop() {
    let place = Place::new("notify-run");
    let name = format!("garboard-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("abstract name");
    let host = UnixDatagram::bind_addr(&address).expect("host socket");
    // Deeper than an address is long.
    let root = place.root().join("deep".repeat(20)).join("er".repeat(40));
    std::fs::create_dir_all(&root).expect("deep root");
    let runtime = Runtime::open(&root).expect("state root");
    let bundle = place.bundle(&config(&place, "nrun", &["/usr/bin/perl", "-e", READY]));
    let mut container = runtime
        .run("nrun", &bundle, &options(format!("@{name}")))
        .expect("run");
    let mut proxy = container.take_notify().expect("a proxy");
    assert!(container.take_notify().is_none());
    proxy.set_main_pid(4711);
    let reader = std::thread::spawn(move || receive(&host, 2));
    finish(&mut proxy);
    assert_eq!(
        reader.join().expect("no panic"),
        ["READY=1\nMAINPID=4711\n", "BARRIER=1"]
    );
    runtime.delete("nrun", true).expect("delete");
}

fn finish(proxy: &mut NotifyProxy) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        assert!(Instant::now() < end, "the proxy does not come to an end");
        let limit = rustix::event::Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let fd = proxy.fd();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll");
        if proxy.handle().expect("handle") {
            return;
        }
    }
}

#[test]
fn the_end_of_init_ends_the_wait() {
    let place = Place::new("notify-end");
    let runtime = Runtime::open(&place.root()).expect("state root");
    let bundle = place.bundle(&config(&place, "nend", &["true"]));
    let host = Path::new("/nonexistent/notify.sock");
    let container = runtime
        .create("nend", &bundle, &options(host))
        .expect("create");
    let proxy = container.start_notifying(host).expect("start");
    proxy
        .expect("created with a socket")
        .wait()
        .expect("it never said anything");
    runtime.delete("nend", true).expect("delete");
}

#[test]
fn a_container_without_a_socket_has_no_proxy() {
    let place = Place::new("notify-none");
    let runtime = Runtime::open(&place.root()).expect("state root");
    let bundle = place.bundle(&place.config("nnone", &["true"]));
    let container = runtime
        .create("nnone", &bundle, &CreateOptions::default())
        .expect("create");
    let proxy = container
        .start_notifying(Path::new("/nonexistent"))
        .expect("start");
    assert!(proxy.is_none());
    runtime.delete("nnone", true).expect("delete");
}

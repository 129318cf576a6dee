//! Network devices that move into a container. Each test has a network namespace of its own: its thread unshares one, and what the library
//! and ip(8) do in that thread they do there. As root only.

mod bundles;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::{Duration, Instant};

use bundles::Place;
use libcontainer::{CreateOptions, ExitStatus, Runtime};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

/// A network namespace for this thread; it ends with the thread.
fn own_network() {
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET) as root");
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .expect("ip is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs the container and returns what it has printed.
fn printed(place: &Place, name: &str, config: &Value) -> Result<String, libcontainer::Error> {
    let (mut reader, writer) = std::io::pipe().expect("pipe");
    let options = CreateOptions {
        stdio: [
            Some(File::open("/dev/null").expect("/dev/null").into()),
            Some(OwnedFd::from(writer)),
            None,
        ],
        ..CreateOptions::default()
    };
    let runtime = Runtime::open(&place.root()).expect("state root");
    let container = runtime.run(name, &place.bundle(config), &options)?;
    drop(options);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("output");
    assert_eq!(container.wait().expect("status"), ExitStatus::Exited(0));
    runtime.delete(name, false).expect("delete");
    assert_eq!(
        bundles::left_cgroups(name),
        Vec::<std::path::PathBuf>::new()
    );
    Ok(text)
}

/// Whether the list of ip(8) has the device, set up: `2: eth0@if3: <BROADCAST,MULTICAST,UP> …`.
fn is_up(list: &str, name: &str) -> bool {
    list.lines()
        .any(|line| line.contains(&format!(": {name}@")) && line.contains(",UP"))
}

#[test]
fn a_device_moves_with_its_addresses_and_its_new_name() {
    own_network();
    ip("link add gbtest0 type veth peer name gbpeer0");
    ip("addr add 192.0.2.7/24 dev gbtest0");
    ip("addr add 2001:db8::7/64 dev gbtest0 nodad");
    ip("addr add 169.254.9.9/16 scope link dev gbtest0");
    ip("link set gbtest0 up");
    let place = Place::new("net-move");
    let mut config = place.config("move", &["ip", "addr"]);
    config["linux"]["netDevices"] = json!({"gbtest0": {"name": "eth0"}});
    let text = printed(&place, "move", &config).expect("run");
    assert!(is_up(&text, "eth0"), "{text}");
    assert!(
        text.contains("inet 192.0.2.7/24 scope global eth0"),
        "{text}"
    );
    assert!(text.contains("inet6 2001:db8::7/64 scope global"), "{text}");
    assert!(!text.contains("169.254"), "of link scope: {text}");
    assert!(!ip("link").contains("gbtest0"));
}

#[test]
fn a_peer_and_several_devices_keep_what_they_had() {
    own_network();
    ip("link add gbveth0 type veth peer name gbveth1");
    ip("addr add 192.0.2.1 peer 192.0.2.2/32 dev gbveth0");
    ip("link add gbtest1 type veth peer name gbpeer1");
    let place = Place::new("net-peer");
    let mut config = place.config("peer", &["ip", "addr"]);
    config["linux"]["netDevices"] = json!({"gbveth0": {}, "gbtest1": {"name": "gbveth2"}});
    let text = printed(&place, "peer", &config).expect("run");
    assert!(text.contains("inet 192.0.2.1 peer 192.0.2.2/32"), "{text}");
    assert!(is_up(&text, "gbveth2"), "{text}");
    // The pair dies with the container's end of it, when the kernel gets to it.
    let end = Instant::now() + Duration::from_secs(10);
    while ip("link").contains("gbveth1") {
        assert!(Instant::now() < end, "the namespace lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn devices_that_are_not_there_are_all_named_and_nothing_moves() {
    own_network();
    ip("link add gbtest2 type veth peer name gbpeer2");
    let place = Place::new("net-absent");
    let mut config = place.config("absent", &["true"]);
    config["linux"]["netDevices"] = json!({"gbtest2": {}, "gbnone0": {}, "gbnone1": {}});
    let error = printed(&place, "absent", &config)
        .expect_err("no such device")
        .to_string();
    for name in ["gbnone0", "gbnone1"] {
        let text = format!(
            "config.json#/linux/netDevices/{name}: look-up of network device \"{name}\": no such device"
        );
        assert!(error.contains(&text), "{error}");
    }
    assert!(ip("link").contains("gbtest2"));
    assert_eq!(
        bundles::left_cgroups("absent"),
        Vec::<std::path::PathBuf>::new()
    );
}

#[test]
fn a_device_that_cannot_move_is_named() {
    own_network();
    let place = Place::new("net-lo");
    let mut config = place.config("lo", &["true"]);
    config["linux"]["netDevices"] = json!({"lo": {"name": "eth0"}});
    let error = printed(&place, "lo", &config)
        .expect_err("lo is bound")
        .to_string();
    assert!(
        error.contains("config.json#/linux/netDevices/lo: move of network device \"lo\" into the container as \"eth0\": invalid argument"),
        "{error}"
    );
}

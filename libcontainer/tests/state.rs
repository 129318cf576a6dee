//! The state store on a real filesystem, with real processes behind the records.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use libcontainer::ErrorKind;
use libcontainer::host::Host;
use libcontainer::state::{
    ContainerId, Entry, ProcessId, Record, Status, Store, default_root, temporary_pid_file,
    write_pid_file,
};

/// A root directory of its own, removed on drop.
struct Root(PathBuf);

impl Root {
    fn new(name: &str) -> Root {
        let path =
            std::env::temp_dir().join(format!("garboard-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Root(path)
    }

    fn store(&self) -> Store {
        Store::open(&self.0).unwrap()
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

fn intent(name: &str) -> Record {
    Record::intent(&id(name), &Host::new()).unwrap()
}

fn sleeper() -> (Child, ProcessId) {
    let child = Command::new("sleep").arg("300").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    let start = Host::new().process(pid).unwrap().unwrap().start_time;
    (child, ProcessId { pid, start })
}

fn status(entry: &Entry) -> Status {
    entry.status(&Host::new()).unwrap()
}

#[test]
fn a_fifo_or_a_link_in_the_place_of_a_record_keeps_nobody() {
    let root = Root::new("fifo");
    let store = root.store();
    for name in ["fifo", "link"] {
        fs::create_dir(root.0.join(name)).unwrap();
    }
    let fifo = root.0.join("fifo/state.json");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.0.join("link/state.json")).unwrap();
    let found: Vec<_> = store.list().unwrap().collect();
    assert_eq!(found.len(), 2);
    assert!(found[0].1.as_ref().unwrap().record().is_none());
    assert!(found[1].1.is_err());
}

#[test]
fn an_intent_is_on_disk_at_once_and_goes_with_its_guard() {
    let root = Root::new("intent");
    let store = root.store();
    let claim = store.claim(&intent("c1")).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(root.0.join("c1/state.json")).unwrap()).unwrap();
    assert_eq!(
        (
            json["id"].as_str(),
            json["phase"].as_str(),
            json["init_process_pid"].as_i64()
        ),
        (Some("c1"), Some("creating"), Some(0))
    );
    assert_eq!(json["token"].as_str().unwrap().len(), 32);
    assert_eq!(
        fs::metadata(root.0.join("c1/state.json"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let again = store.claim(&intent("c1")).unwrap_err();
    assert_eq!(
        (again.kind(), again.to_string().as_str()),
        (
            ErrorKind::AlreadyExists,
            "container with given ID already exists"
        )
    );
    let seen = store.entry(&id("c1")).unwrap();
    assert_eq!(status(&seen), Status::Creating);
    assert!(!seen.try_lock().unwrap(), "the creator holds the lock");
    assert_eq!(
        seen.lock(Instant::now() + Duration::from_millis(20))
            .unwrap_err()
            .kind(),
        ErrorKind::WrongStatus
    );
    drop(claim);
    let gone = store.entry(&id("c1")).unwrap_err();
    assert_eq!(
        (gone.kind(), gone.to_string().as_str()),
        (ErrorKind::NotFound, "container does not exist")
    );
    assert_eq!(fs::read_dir(&root.0).unwrap().count(), 0);
}

#[test]
fn a_container_from_created_to_stopped() {
    let root = Root::new("life");
    let store = root.store();
    let (mut init, init_id) = sleeper();
    let mut record = intent("c1");
    let mut claim = store.claim(&record).unwrap();
    let fifo = claim.make_fifo().unwrap();
    record.set_created(init_id);
    claim.update(record).unwrap();
    drop(claim.commit());
    let entry = store.entry(&id("c1")).unwrap();
    assert!(entry.try_lock().unwrap());
    assert!(!entry.try_lock().unwrap(), "two threads may share a handle");
    assert_eq!(status(&entry), Status::Created);
    assert_eq!(
        entry.record().unwrap().namespace_paths["NEWNS"],
        format!("/proc/{}/ns/mnt", init_id.pid)
    );
    assert!(entry.start().unwrap());
    let mut byte = [0u8; 2];
    assert_eq!(
        rustix::io::read(&fifo, &mut byte[..]).unwrap(),
        1,
        "init reads one byte"
    );
    drop(fifo);
    assert_eq!(status(&entry), Status::Running);
    assert!(!entry.start().unwrap(), "nobody waits");
    init.kill().unwrap();
    // A zombie has stopped, though its pid and start time are still there.
    let deadline = Instant::now() + Duration::from_secs(5);
    while status(&entry) != Status::Stopped {
        assert!(Instant::now() < deadline);
    }
    init.wait().unwrap();
    assert_eq!(status(&entry), Status::Stopped);
    entry.remove().unwrap();
    assert_eq!(fs::read_dir(&root.0).unwrap().count(), 0);
}

#[test]
fn a_pid_given_to_somebody_else_is_not_init() {
    let root = Root::new("reuse");
    let (mut other, other_id) = sleeper();
    let mut record = intent("c1");
    record.set_created(ProcessId {
        start: other_id.start - 1,
        ..other_id
    });
    let entry = root.store().claim(&record).unwrap().commit();
    assert_eq!(status(&entry), Status::Stopped);
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_start_that_init_does_not_wait_for_never_blocks() {
    let root = Root::new("fifo");
    let (mut init, init_id) = sleeper();
    let mut record = intent("c1");
    record.set_created(init_id);
    let mut claim = root.store().claim(&record).unwrap();
    // The stage died, or went on: its end of the fifo is closed.
    drop(claim.make_fifo().unwrap());
    let entry = claim.commit();
    assert!(
        fs::metadata(root.0.join("c1/exec.fifo"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(status(&entry), Status::Running);
    assert!(!entry.start().unwrap());
    init.kill().unwrap();
    init.wait().unwrap();
}

#[test]
fn leftovers_of_every_kind_can_be_removed() {
    let root = Root::new("torn");
    let store = root.store();
    let mut reboot = intent("reboot");
    reboot.boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
    reboot.set_created(sleeperless());
    drop(store.claim(&reboot).unwrap().commit());
    fs::create_dir(root.0.join("empty")).unwrap();
    fs::create_dir_all(root.0.join("torn/notify")).unwrap();
    fs::write(root.0.join("torn/notify/notify.sock"), "").unwrap();
    fs::write(
        root.0.join("torn/state.json"),
        "{\"garboard\":1,\"id\":\"to",
    )
    .unwrap();
    let host = Host::new();
    for name in ["reboot", "empty", "torn"] {
        assert_eq!(
            store.claim(&intent(name)).unwrap_err().kind(),
            ErrorKind::AlreadyExists,
            "{name}"
        );
        let entry = store.entry(&id(name)).unwrap();
        assert!(
            entry.is_leftover(&host).unwrap() && entry.try_lock().unwrap(),
            "{name}"
        );
        assert_eq!(entry.status(&host).unwrap(), Status::Stopped);
        entry.remove().unwrap();
    }
    assert_eq!(fs::read_dir(&root.0).unwrap().count(), 0);
}

/// This very process: alive, so that only the boot id can tell that it is not the container's.
fn sleeperless() -> ProcessId {
    let pid = i32::try_from(std::process::id()).unwrap();
    ProcessId {
        pid,
        start: Host::new().process(pid).unwrap().unwrap().start_time,
    }
}

#[test]
fn a_record_of_another_version_is_an_error() {
    let root = Root::new("version");
    fs::create_dir(root.0.join("c1")).unwrap();
    fs::write(root.0.join("c1/state.json"), "{\"garboard\":2}").unwrap();
    assert_eq!(
        root.store().entry(&id("c1")).unwrap_err().kind(),
        ErrorKind::Unsupported
    );
    let listed: Vec<_> = root.store().list().unwrap().collect();
    assert!(
        listed.len() == 1 && listed[0].1.is_err(),
        "listed as broken"
    );
}

#[test]
fn links_and_junk_in_the_root_are_not_containers() {
    let root = Root::new("links");
    let store = root.store();
    drop(store.claim(&intent("b")).unwrap().commit());
    drop(store.claim(&intent("a")).unwrap().commit());
    symlink(root.0.join("a"), root.0.join("link")).unwrap();
    fs::write(root.0.join("file"), "").unwrap();
    fs::create_dir(root.0.join("not an id")).unwrap();
    let names: Vec<String> = store
        .list()
        .unwrap()
        .map(|(id, _)| id.to_string())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(store.entry(&id("link")).is_err());
    assert!(store.claim(&intent("link")).is_err());
}

#[test]
fn a_root_that_is_a_link_or_open_to_all_is_refused() {
    let root = Root::new("root");
    let open = root.0.join("open");
    let missing = Store::open(&open).unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
    let made = Store::open_or_create(&open.join("deep/er"), true).unwrap();
    assert_eq!(
        fs::metadata(made.path()).unwrap().permissions().mode() & 0o7777,
        0o1700
    );
    symlink(&open, root.0.join("link")).unwrap();
    assert!(Store::open_or_create(&root.0.join("link"), false).is_err());
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(Store::open(&open).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn another_users_container_is_shown_but_not_acted_on() {
    if Host::new().euid() != 0 {
        println!("skipped: needs root");
        return;
    }
    let root = Root::new("owner");
    drop(root.store().claim(&intent("c1")).unwrap().commit());
    std::os::unix::fs::chown(root.0.join("c1"), Some(12_345), None).unwrap();
    let entry = root.store().entry(&id("c1")).unwrap();
    assert_eq!((entry.owner(), status(&entry)), (12_345, Status::Stopped));
    assert_eq!(entry.try_lock().unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn the_default_root() {
    let host = Host::new();
    if host.rootless().unwrap() {
        println!("skipped: needs real root");
        return;
    }
    let root = default_root(&host, |_| Some("/run/user/0".into())).unwrap();
    assert_eq!(root, PathBuf::from("/run/garboard"));
}

#[test]
fn a_pid_file_appears_complete() {
    let root = Root::new("pid");
    let path = root.0.join("init.pid");
    let temporary = temporary_pid_file(&path).unwrap();
    assert_eq!(temporary, root.0.join(".init.pid"));
    // Left by a create that was killed, and pointing where it must not write.
    symlink(root.0.join("victim"), &temporary).unwrap();
    write_pid_file(&path, 4711).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "4711");
    let names: Vec<_> = fs::read_dir(&root.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["init.pid"]);
}

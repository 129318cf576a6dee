//! `start` and the process that it leaves behind, with sockets in a directory of the test's own: as containerd 2.3 asks for it, which is also the only
//! one that can.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use containerd_shim_protos::bootstrap_api::BootstrapParams;
use protobuf::Message;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use ttrpc::proto::Request;

const SHIM: &str = env!("CARGO_BIN_EXE_containerd-shim-garboard-v2");

/// Bundles of one pod and the sockets of their shims; ends the shims.
struct Pod {
    dir: PathBuf,
    name: String,
}

impl Pod {
    fn new(name: &str) -> Pod {
        let name = format!("garboard-test-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir(&dir).expect("directory");
        Pod { dir, name }
    }

    fn bundle(&self, container: &str) -> PathBuf {
        let bundle = self.dir.join(container);
        fs::create_dir_all(&bundle).expect("bundle");
        let config = format!(
            r#"{{"ociVersion": "1.0.2", "annotations": {{"io.kubernetes.cri.sandbox-id": "{}"}}}}"#,
            self.name
        );
        fs::write(bundle.join("config.json"), config).expect("config.json");
        // As a second call finds it.
        let _ = mknodat(
            CWD,
            bundle.join("log"),
            FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        );
        bundle
    }

    fn id(&self, container: &str) -> String {
        format!("{container}-{}", self.name)
    }

    fn call(&self, container: &str, word: &str) -> Output {
        let bundle = self.bundle(container);
        let params = BootstrapParams {
            instance_id: self.id(container),
            namespace: "garboard-test".to_owned(),
            socket_dir: Some(self.dir.join("s").display().to_string()),
            containerd_ttrpc_address: "/no/such.ttrpc".to_owned(),
            ..BootstrapParams::new()
        };
        let stdin = bundle.join("stdin");
        fs::write(&stdin, params.write_to_bytes().expect("encodes")).expect("write");
        Command::new(SHIM)
            .args(["-namespace", "garboard-test", "-address", "/no/such.sock"])
            .args(["-id", &self.id(container), word])
            .env("NOTIFY_SOCKET", "/no/such/socket")
            .current_dir(&bundle)
            .stdin(Stdio::from(fs::File::open(stdin).expect("open")))
            .output()
            .expect("the shim runs")
    }

    /// The socket that the reply names.
    fn start(&self, container: &str) -> PathBuf {
        let output = self.call(container, "start");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let reply: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(
            (&reply["version"], &reply["protocol"]),
            (&3.into(), &"ttrpc".into())
        );
        let address = reply["address"].as_str().expect("an address");
        let file = fs::read_to_string(self.bundle(container).join("address")).expect("address");
        assert_eq!(file, address);
        PathBuf::from(address.strip_prefix("unix://").expect("a socket"))
    }

    /// The shims of the pod.
    fn shims(&self) -> Vec<i32> {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with(SHIM) && line.contains(&self.name) && !line.ends_with("start\0")
        })
        .collect()
    }

    fn kill(&self) {
        for pid in self.shims() {
            let pid = Pid::from_raw(pid).expect("a pid");
            let _ = kill_process(pid, Signal::KILL); // it may have ended by itself
        }
        let until = Instant::now() + Duration::from_secs(10);
        while !self.shims().is_empty() {
            assert!(Instant::now() < until, "a shim outlives SIGKILL");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir); // the assertion that failed is what matters
    }
}

fn proc(pid: i32, file: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{file}")).expect("the shim lives");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn score(pid: i32) -> i32 {
    proc(pid, "oom_score_adj").trim().parse().expect("a number")
}

#[test]
fn a_shim_is_left_behind_with_what_it_needs() {
    let pod = Pod::new("one");
    let socket = pod.start("c1");
    UnixStream::connect(&socket).expect("it listens");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&socket), mode(&pod.dir.join("s"))), (0o600, 0o700));
    let [shim] = pod.shims()[..] else {
        panic!("{:?}", pod.shims());
    };
    // This process calls it, as containerd does.
    let own = std::process::id().cast_signed();
    assert_eq!(score(shim), (score(own) + 1).min(1000));
    let environment = proc(shim, "environ");
    assert!(environment.contains("MALLOC_ARENA_MAX=1\0"));
    assert!(environment.contains("TTRPC_ADDRESS=/no/such.ttrpc\0"));
    assert!(!environment.contains("NOTIFY_SOCKET"));
    let link = |name: &str| fs::read_link(format!("/proc/{shim}/{name}")).expect("a link");
    let bundle = pod.bundle("c1");
    assert_eq!(link("cwd"), bundle);
    assert!(link("fd/0").starts_with("socket:") || link("fd/0") == Path::new("/dev/null"));
    assert_eq!(
        (link("fd/1"), link("fd/2")),
        (bundle.join("log"), bundle.join("log"))
    );
    let group: Option<i32> = proc(shim, "stat")
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(2)?.parse().ok());
    assert_eq!(group, Some(shim));
}

#[test]
fn a_pod_has_one_shim() {
    let pod = Pod::new("pod");
    let socket = pod.start("c1");
    let shims = pod.shims();
    assert_eq!(pod.start("c2"), socket);
    assert_eq!(pod.shims(), shims);
    // Killed, and its socket left: the next one takes its place.
    pod.kill();
    UnixStream::connect(&socket).expect_err("nobody listens");
    assert_eq!(pod.start("c2"), socket);
    UnixStream::connect(&socket).expect("it listens");
    assert_eq!(pod.shims().len(), 1);
}

#[test]
fn containers_that_begin_together_find_one_shim() {
    let pod = Pod::new("together");
    for _ in 0..5 {
        let sockets: Vec<PathBuf> = std::thread::scope(|scope| {
            let start = |number: u32| {
                let pod = &pod;
                scope.spawn(move || pod.start(&format!("c{number}")))
            };
            let threads: Vec<_> = (0..8).map(start).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("started"))
                .collect()
        });
        assert!(
            sockets.windows(2).all(|two| two[0] == two[1]),
            "{sockets:?}"
        );
        assert_eq!(pod.shims().len(), 1);
        UnixStream::connect(&sockets[0]).expect("it listens");
        pod.kill();
    }
}

#[test]
fn delete_removes_the_socket_of_a_dead_shim_only() {
    let pod = Pod::new("delete");
    let socket = pod.start("c1");
    let delete = || assert!(pod.call("c1", "delete").status.success());
    delete();
    UnixStream::connect(&socket).expect("the shim of others");
    pod.kill();
    delete();
    assert!(socket.symlink_metadata().is_err());
    delete();
}

#[test]
fn a_shim_that_ends_leaves_the_socket_of_the_next_one() {
    let pod = Pod::new("next");
    let mut containerd = UnixStream::connect(pod.start("c1")).expect("it listens");
    let [old] = pod.shims()[..] else {
        panic!("{:?}", pod.shims());
    };
    // More answers than a socket takes: the shim cannot end before they are read.
    let mut asked = request("Connect", 1).repeat(20_000);
    asked.extend(request("Shutdown", 3));
    containerd.write_all(&asked).expect("asked");
    let until = Instant::now() + Duration::from_secs(10);
    let socket = loop {
        let socket = pod.start("c1");
        if pod.shims().len() == 2 {
            break socket;
        }
        assert!(Instant::now() < until, "it does not leave its socket");
    };
    assert!(
        pod.shims().contains(&old),
        "it has ended too early for this test"
    );
    containerd
        .read_to_end(&mut Vec::new())
        .expect("all answers, and the end");
    while pod.shims().contains(&old) {
        assert!(Instant::now() < until, "it does not end");
    }
    UnixStream::connect(socket).expect("the next one listens");
}

fn request(method: &str, stream: u32) -> Vec<u8> {
    let request = Request {
        service: "containerd.task.v2.Task".to_owned(),
        method: method.to_owned(),
        ..Request::new()
    };
    let body = request.write_to_bytes().expect("encodes");
    let length = u32::try_from(body.len()).expect("short");
    [
        &length.to_be_bytes()[..],
        &stream.to_be_bytes(),
        &[1, 0],
        &body,
    ]
    .concat()
}

#[test]
fn a_shim_that_cannot_be_started_leaves_no_socket() {
    let pod = Pod::new("fails");
    // The address cannot be told: a directory is in its place.
    fs::create_dir_all(pod.bundle("c1").join("address/x")).expect("directory");
    let output = pod.call("c1", "start");
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("write the address") && said.matches('\n').count() == 1,
        "{said}"
    );
    assert_eq!(fs::read_dir(pod.dir.join("s")).expect("sockets").count(), 0);
    assert!(pod.shims().is_empty());
}

//! Addresses, and sockets in a directory of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("garboard-test-socket-{name}-{}", std::process::id());
        Directory(std::env::temp_dir().join(name))
    }

    fn path(&self) -> PathBuf {
        self.0.join("s/socket")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // nothing is there when the test made nothing
    }
}

fn ours(path: &Path) -> OwnedFd {
    match claim(path).expect("claim") {
        Claim::Ours(listener) => listener,
        Claim::Theirs => panic!("somebody listens at {}", path.display()),
    }
}

#[test]
fn the_addresses_of_containerds_own_shim() {
    let of = |address, namespace, id| path(Path::new(DIRECTORY), address, namespace, id);
    let hash = "d25aa4ef11a84e954e74a5bcff06557d0b6ea8d0c00243896f29826694bbd888";
    let expected = Path::new(DIRECTORY).join(hash);
    assert_eq!(
        of("/run/containerd/containerd.sock", "default", "c1"),
        expected
    );
    // Cleaned as Go does it.
    assert_eq!(
        of("/run//containerd/x/../containerd.sock/", "default", "./c1"),
        expected
    );
    let pod = of("/run/containerd/containerd.sock", "k8s.io", "pod");
    assert!(pod.ends_with("b9cab8e84f817f3c3bb561c7ea8dcbfba051d5d8f56ec2c3f204bc387d13f7d0"));
    for (dirty, clean) in [
        ("", ""),
        ("/", "/"),
        ("/..", "/"),
        ("a/../../b", "../b"),
        ("unix:///run/c.sock", "unix:/run/c.sock"),
    ] {
        assert_eq!(super::clean(dirty), clean, "{dirty}");
    }
}

#[test]
fn one_listens_and_the_others_find_it() {
    let directory = Directory::new("claim");
    let path = directory.path();
    let listener = ours(&path);
    let mode = |path: &Path| path.symlink_metadata().expect("there").permissions().mode() & 0o7777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&directory.0.join("s")), 0o700);
    assert!(matches!(claim(&path), Ok(Claim::Theirs)));
    remove_dead(&path).expect("alive");
    UnixStream::connect(&path).expect("it listens");
    drop(listener);
    // Its process was killed: the name is there, and nobody behind it.
    UnixStream::connect(&path).expect_err("nobody listens");
    let listener = ours(&path);
    UnixStream::connect(&path).expect("it listens");
    drop(listener);
    remove_dead(&path).expect("dead");
    assert!(path.symlink_metadata().is_err());
    remove_dead(&path).expect("gone");
    let _listener = ours(&path);
    remove_own(&path).expect("ours");
    remove_own(&path).expect("gone");
    assert!(path.symlink_metadata().is_err());
}

#[test]
fn of_many_at_once_one_listens() {
    let directory = Directory::new("race");
    let path = directory.path();
    for round in 0..50 {
        let claims: Vec<Claim> = std::thread::scope(|scope| {
            let claim = || scope.spawn(|| claim(&path).expect("claim"));
            let threads: Vec<_> = (0..8).map(|_| claim()).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("thread"))
                .collect()
        });
        let ours = claims
            .iter()
            .filter(|claim| matches!(claim, Claim::Ours(_)));
        // Every second round begins with a dead socket.
        assert_eq!(ours.count(), 1, "round {round}");
    }
}

#[test]
fn a_full_backlog_is_somebody_who_listens() {
    let directory = Directory::new("full");
    let path = directory.path();
    std::fs::create_dir_all(directory.0.join("s")).expect("directory");
    std::fs::set_permissions(directory.0.join("s"), PermissionsExt::from_mode(0o700))
        .expect("mode");
    let listener = UnixListener::bind(&path).expect("bind");
    rustix::net::listen(&listener, 0).expect("a backlog of one");
    let address = address(&path).expect("address");
    let waiting: Vec<OwnedFd> = (0..3)
        .map(|_| {
            let socket = socket().expect("socket");
            let _ = rustix::net::connect(&socket, &address); // the last ones find it full
            socket
        })
        .collect();
    assert!(matches!(claim(&path), Ok(Claim::Theirs)));
    drop((listener, waiting));
}

#[test]
fn what_is_refused() {
    let long = Path::new("/tmp").join("x".repeat(102));
    assert!(matches!(claim(&long), Err(Error::TooLong(_))));
    let directory = Directory::new("open");
    std::fs::create_dir_all(directory.0.join("s")).expect("directory");
    std::fs::set_permissions(directory.0.join("s"), PermissionsExt::from_mode(0o777))
        .expect("mode");
    assert!(matches!(claim(&directory.path()), Err(Error::Writable(_))));
    remove_dead(&directory.0.join("none/socket")).expect("nothing there");
    assert!(directory.0.join("none").symlink_metadata().is_err());
}

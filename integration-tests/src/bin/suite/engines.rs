//! What engines really write: the config.json files of Docker, containerd, Podman and Buildah go through a whole life.
//!
//! The fixtures were captured by `engines/capture.sh`; what belonged to that machine is a placeholder. Limits whose
//! controllers are not here are taken out here, not in the files.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cgroups;
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::sockets::FdSocket;
use garboard_integration_tests::{cases, place, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        docker,
        docker_as_a_user_at_a_terminal,
        docker_in_the_namespaces_of_the_host,
        containerd,
        containerd_at_a_terminal,
        containerd_in_the_network_of_the_host,
        podman,
        podman_as_a_user_at_a_terminal,
        podman_in_the_namespaces_of_the_host,
        podman_with_mapped_ids,
        buildah,
        buildah_as_a_user,
    ]
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../fixtures/engines/", $name, ".json"))
    };
}

fn docker(t: &Test) -> Done {
    lives(t, fixture!("docker"), Some(fixture!("docker-exec")))
}

fn docker_as_a_user_at_a_terminal(t: &Test) -> Done {
    lives(t, fixture!("docker-user"), None)
}

fn docker_in_the_namespaces_of_the_host(t: &Test) -> Done {
    lives(t, fixture!("docker-host"), None)
}

fn containerd(t: &Test) -> Done {
    lives(t, fixture!("containerd"), Some(fixture!("containerd-exec")))
}

fn containerd_at_a_terminal(t: &Test) -> Done {
    lives(t, fixture!("containerd-user"), None)
}

fn containerd_in_the_network_of_the_host(t: &Test) -> Done {
    lives(t, fixture!("containerd-host"), None)
}

fn podman(t: &Test) -> Done {
    lives(t, fixture!("podman"), Some(fixture!("podman-exec")))
}

fn podman_as_a_user_at_a_terminal(t: &Test) -> Done {
    lives(t, fixture!("podman-user"), None)
}

fn podman_in_the_namespaces_of_the_host(t: &Test) -> Done {
    lives(t, fixture!("podman-host"), None)
}

fn podman_with_mapped_ids(t: &Test) -> Done {
    if !place::has_v1() {
        return Err(Failure::skip("it binds a v1 hierarchy into the container"));
    }
    lives(t, fixture!("podman-mapped"), None)
}

fn buildah(t: &Test) -> Done {
    lives(t, fixture!("buildah"), None)
}

fn buildah_as_a_user(t: &Test) -> Done {
    lives(t, fixture!("buildah-user"), None)
}

/// Gives the placeholders a meaning on this machine and takes out what it has not got.
fn instantiated(t: &Test, text: &str) -> Result<Bundle, Failure> {
    let mut bundle = Bundle {
        config: serde_json::from_str(text)?,
        ..Bundle::default()
    };
    let sources = t.scratch("sources")?;
    for mount in list(&mut bundle.config["mounts"]) {
        let destination = mount["destination"].as_str().unwrap_or("").to_owned();
        if is_of_the_engine(mount) {
            mount["source"] = json!(source(&sources, &destination)?);
        }
    }
    for namespace in list(&mut bundle.config["linux"]["namespaces"]) {
        if namespace["path"] == "@PATH@" {
            let kind = namespace["type"].as_str().unwrap_or("");
            // Docker names the host's by a path.
            let kind = kind.replace("network", "net");
            namespace["path"] = json!(format!("/proc/{}/ns/{kind}", std::process::id()));
        }
    }
    if let Some(hooks) = bundle.config["hooks"].as_object_mut() {
        for hook in hooks.iter_mut().flat_map(|(_, hooks)| list(hooks)) {
            hook["path"] = json!("/bin/true");
        }
    }
    for (key, controller) in [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids")] {
        if cgroups::version_of(controller)?.is_none() {
            bundle = bundle.without(&format!("/linux/resources/{key}"));
        }
    }
    Ok(bundle
        .without("/linux/cgroupsPath")
        .set("/root/path", json!("rootfs"))
        .set("/process/args", json!(["sleep", "1000"])))
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

fn is_of_the_engine(mount: &Value) -> bool {
    let source = mount["source"].as_str().unwrap_or("");
    source.starts_with("@SOURCE@") || source.contains("/sources/")
}

/// What the engine had at the source of this mount: a directory or a file of its own.
fn source(sources: &Path, destination: &str) -> Result<std::path::PathBuf, Failure> {
    let source = sources.join(destination.replace('/', "-"));
    if is_directory(destination) {
        fs::create_dir(&source)?;
        fs::write(source.join("note"), note(destination))?;
    } else {
        fs::write(&source, note(destination))?;
    }
    Ok(source)
}

fn is_directory(destination: &str) -> bool {
    ["/dev/shm", "/given", "/sys/fs/cgroup/systemd"].contains(&destination)
}

fn note(destination: &str) -> String {
    format!("of the engine: {destination}\n")
}

/// The root filesystem belongs to the container's root, as engines see to when they map ids.
fn give_to_root(bundle: &Bundle, rootfs: &Path) -> Done {
    let maps = &bundle.config["linux"]["uidMappings"];
    if let Some(owner) = maps[0]["hostID"].as_u64() {
        let owner = u32::try_from(owner)?;
        for directory in ["", "dev", "etc", "proc", "run", "sys", "tmp", "var"] {
            chown(rootfs.join(directory), Some(owner), Some(owner))?;
        }
    }
    Ok(())
}

fn lives(t: &Test, config: &str, exec: Option<&str>) -> Done {
    let bundle = instantiated(t, config)?;
    let c = t.container(&bundle)?;
    give_to_root(&bundle, &c.path("/"))?;
    let _master = create(t, &c, &bundle)?;
    assert_eq!(c.status()?, "created");
    c.start()?;
    let pid = c.pid()?;
    wait_until("the program", || {
        Ok(processes::command_line(pid) == "sleep 1000")
    })?;
    let seen = c.exec_report(&[])?;
    has_the_mounts(t, &c, &bundle, &seen)?;
    has_the_rights(&bundle, &seen)?;
    if let Some(hostname) = bundle.config["hostname"].as_str() {
        assert_eq!(seen.at("/hostname"), hostname);
    }
    if let Some(exec) = exec {
        let file = t.dir.join("process.json");
        let mut process: Value = serde_json::from_str(exec)?;
        process["args"] = json!(["sh", "-c", "exit 3"]);
        fs::write(&file, serde_json::to_vec(&process)?)?;
        c.call("exec", &["--process", &file.to_string_lossy()], &[])?
            .exits_with(3)?;
    }
    c.kill("TERM")?;
    if is_init(&bundle) {
        // Init of a pid namespace is not ended by a signal that it does not handle.
        assert_eq!(c.status()?, "running");
        c.kill("KILL")?;
    }
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

/// Whether the container has a pid namespace of its own.
fn is_init(bundle: &Bundle) -> bool {
    let namespaces = bundle.config["linux"]["namespaces"].as_array();
    namespaces.is_some_and(|all| all.iter().any(|one| one["type"] == "pid"))
}

/// `create`, with a console socket if the process has a terminal; the terminal's master.
fn create(
    t: &Test,
    c: &Container<'_>,
    bundle: &Bundle,
) -> Result<Option<std::os::fd::OwnedFd>, Failure> {
    if bundle.config["process"]["terminal"] != true {
        c.create()?;
        return Ok(None);
    }
    let socket = FdSocket::listen(&t.dir.join("console"))?;
    let flags = ["--console-socket", &socket.path.to_string_lossy()];
    t.runtime.finish(c.create_command(&flags))?.success()?;
    Ok(socket.receive()?.fds.pop())
}

fn has_the_mounts(t: &Test, c: &Container<'_>, bundle: &Bundle, seen: &Report) -> Done {
    for mount in bundle.config["mounts"].as_array().into_iter().flatten() {
        let destination = mount["destination"].as_str().unwrap_or("");
        // runc 1.1 leaves the tmpfs of the hierarchies writable.
        let known = t.runtime.is_runc() && mount["type"] == "cgroup";
        if !t.place.is_unified() && !known {
            let found = seen.mount(destination)?;
            let options = mount["options"].as_array().cloned().unwrap_or_default();
            for flag in ["ro", "nosuid", "nodev", "noexec"] {
                assert!(
                    !options.contains(&json!(flag)) || found.has(flag),
                    "{destination}: {flag}"
                );
            }
        }
        if is_of_the_engine(mount) {
            let path = if is_directory(destination) {
                format!("{destination}/note")
            } else {
                destination.to_owned()
            };
            let text = c.exec(&["cat", &path])?.success()?.stdout();
            assert_eq!(text, note(destination));
        }
    }
    let readonly = bundle.config["root"]["readonly"] == true;
    assert_eq!(seen.mount("/")?.has("ro"), readonly);
    Ok(())
}

fn has_the_rights(bundle: &Bundle, seen: &Report) -> Done {
    let process = &bundle.config["process"];
    let given = |set: &str| process["capabilities"][set].as_array().map_or(0, Vec::len);
    let uid = seen.status("Uid").split_whitespace().next().unwrap_or("");
    assert_eq!(uid, process["user"]["uid"].to_string());
    assert_eq!(seen.mask("CapBnd").count_ones() as usize, given("bounding"));
    // exec(2) leaves to others than root only the ambient ones.
    let effective = if process["user"]["uid"] == 0 {
        given("effective")
    } else {
        given("ambient")
    };
    assert_eq!(seen.mask("CapEff").count_ones() as usize, effective);
    let quiet = process["noNewPrivileges"] == true;
    assert_eq!(seen.status("NoNewPrivs") == "1", quiet);
    let filtered = bundle.config["linux"]["seccomp"].is_object();
    assert_eq!(seen.status("Seccomp") == "2", filtered);
    Ok(())
}

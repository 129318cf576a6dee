//! What engines really write: a config.json of each of Docker, containerd, Podman and Buildah goes through a whole life.
//!
//! The fixtures were captured by `engines/capture.sh`; what belonged to that machine is a placeholder. Keys that a later issue brings
//! (seccomp, resources other than devices) are taken out here, not in the files.

use std::fs;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::{cases, processes};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        a_config_of_docker,
        a_config_of_containerd,
        a_config_of_podman,
        a_config_of_buildah
    ]
}

/// Gives the placeholders a meaning on this machine and takes out what later issues bring.
fn instantiated(t: &Test, text: &str) -> Result<Bundle, Failure> {
    let mut bundle = Bundle {
        config: serde_json::from_str(text)?,
        ..Bundle::default()
    };
    let sources = t.scratch("sources")?;
    for mount in bundle.config["mounts"].as_array_mut().into_iter().flatten() {
        let Some(destination) = mount["source"]
            .as_str()
            .and_then(|source| source.strip_prefix("@SOURCE@"))
        else {
            continue;
        };
        let source = sources.join(destination.replace('/', "-"));
        if destination == "/dev/shm" {
            fs::create_dir(&source)?;
        } else {
            fs::write(&source, format!("of the engine: {destination}\n"))?;
        }
        mount["source"] = json!(source);
    }
    for hook in bundle.config["hooks"]
        .as_object_mut()
        .into_iter()
        .flatten()
        .flat_map(|(_, hooks)| hooks.as_array_mut())
        .flatten()
    {
        hook["path"] = json!("/bin/true");
    }
    let devices = bundle.config["linux"]["resources"]["devices"].clone();
    bundle.config["linux"]["resources"] = json!({"devices": devices});
    let bundle = bundle
        .without("/linux/seccomp")
        .without("/linux/cgroupsPath")
        .set("/root/path", json!("rootfs"));
    Ok(bundle.set("/process/args", json!(["sleep", "1000"])))
}

fn lives(t: &Test, config: &str, exec: Option<&str>) -> Done {
    let bundle = instantiated(t, config)?;
    let mounts: Vec<Value> = bundle.config["mounts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let hostname = bundle.config["hostname"].as_str().map(str::to_owned);
    let wanted = bundle.config["process"]["capabilities"]["effective"]
        .as_array()
        .map_or(0, Vec::len);
    let c = t.container(&bundle)?;
    c.create()?;
    assert_eq!(c.status()?, "created");
    c.start()?;
    let pid = c.pid()?;
    wait_until("the program", || {
        Ok(processes::command_line(pid) == "sleep 1000")
    })?;
    let seen = c.exec_report(&[])?;
    for mount in &mounts {
        let destination = mount["destination"].as_str().unwrap_or("");
        assert!(
            t.place.to_string() == "v2" || seen.mount(destination).is_ok(),
            "{destination}"
        );
        if mount["source"]
            .as_str()
            .is_some_and(|source| source.contains("/sources/"))
            && destination != "/dev/shm"
        {
            assert_eq!(
                c.exec(&["cat", destination])?.success()?.stdout(),
                format!("of the engine: {destination}\n")
            );
        }
    }
    if let Some(hostname) = hostname {
        assert_eq!(seen.at("/hostname"), hostname.as_str());
    }
    assert_eq!(seen.mask("CapEff").count_ones(), u32::try_from(wanted)?);
    if let Some(exec) = exec {
        let file = t.dir.join("process.json");
        let mut process: Value = serde_json::from_str(exec)?;
        process["args"] = json!(["sh", "-c", "exit 3"]);
        fs::write(&file, serde_json::to_vec(&process)?)?;
        c.call("exec", &["--process", &file.to_string_lossy()], &[])?
            .exits_with(3)?;
    }
    c.kill("TERM")?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn a_config_of_docker(t: &Test) -> Done {
    lives(
        t,
        include_str!("../../../fixtures/engines/docker.json"),
        Some(include_str!("../../../fixtures/engines/docker-exec.json")),
    )
}

fn a_config_of_containerd(t: &Test) -> Done {
    lives(
        t,
        include_str!("../../../fixtures/engines/containerd.json"),
        Some(include_str!(
            "../../../fixtures/engines/containerd-exec.json"
        )),
    )
}

fn a_config_of_podman(t: &Test) -> Done {
    lives(
        t,
        include_str!("../../../fixtures/engines/podman.json"),
        Some(include_str!("../../../fixtures/engines/podman-exec.json")),
    )
}

fn a_config_of_buildah(t: &Test) -> Done {
    lives(
        t,
        include_str!("../../../fixtures/engines/buildah.json"),
        None,
    )
}

//! Kubernetes' door where systemd manages the machine, as the kubelet's default is: pods in scopes, `engines --place vm --driver systemd`.

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::cri::Cri;
use garboard_integration_tests::engine::cri::messages::LinuxContainerResources;
use garboard_integration_tests::engine::installed::control;
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::needs::Need;
use garboard_integration_tests::place::Driver;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](a_pod_in_scopes_of_systemd))
}

fn a_pod_in_scopes_of_systemd(engine: &Engine<'_>) -> Done {
    engine.test.needs(&[Need::Systemd, Need::Root])?;
    if engine.test.driver != Driver::Systemd {
        return Err(garboard_integration_tests::case::Failure::skip(
            "needs the systemd driver",
        ));
    }
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let mut config = pod.container_config("one", &["sleep", "1000"]);
    if let Some(linux) = config.linux.as_mut() {
        linux.resources = Some(LinuxContainerResources {
            memory_limit_in_bytes: 64 << 20,
            ..Default::default()
        });
    }
    let one = pod.start(config)?;
    let (cgroup, limit) = control(cri.pid(&one)?, "memory.max")?;
    assert_eq!(cgroup, format!("/system.slice/cri-containerd-{one}.scope"));
    assert_eq!(limit, (64 << 20).to_string());
    assert_eq!(cri.output(&one, &["hostname"])?, "pod\n");
    cri.stop(&one, 0)?;
    assert_eq!(cri.ended(&one)?.exit_code, 137);
    pod.end()?;
    let left = std::fs::read_dir("/sys/fs/cgroup/system.slice")?.flatten();
    let left: Vec<_> = left
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("cri-containerd-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

//! Kubernetes' door: commands in containers, at once and as streams, and what is asked of a container while it runs.

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::cri::messages::{
    ContainerStatsResponse, ExecRequest, Id, LinuxContainerResources, Nothing,
    UpdateContainerResourcesRequest, Url,
};
use garboard_integration_tests::engine::cri::stream::ExecStream;
use garboard_integration_tests::engine::cri::{self, Cri, Pod};
use garboard_integration_tests::engine::{Door, Engine};
use garboard_integration_tests::{cgroups, engine_cases, processes};

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        output_and_exit_codes,
        a_timeout_ends_the_command,
        many_commands_at_once,
        a_stream_without_a_terminal,
        a_stream_with_a_terminal,
        logs_are_whole,
        stats_tell_of_the_container,
        limits_are_changed,
    ))
}

fn sleeper(pod: &Pod) -> Result<String, Failure> {
    pod.run("one", &["sleep", "1000"])
}

fn output_and_exit_codes(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    for code in [0, 3, 126, 255] {
        let script = format!("echo out; echo err >&2; exit {code}");
        let answer = cri::exec(&one, &["sh", "-c", &script], 0)?;
        assert_eq!(answer.exit_code, code);
        assert_eq!(
            (answer.stdout, answer.stderr),
            (b"out\n".to_vec(), b"err\n".to_vec())
        );
    }
    let text = cri.output(&one, &["seq", "1", "100000"])?;
    assert_eq!((text.len(), text.lines().count()), (588_895, 100_000));
    let absent = cri::exec(&one, &["/bin/absent"], 0);
    assert!(absent.is_err_and(|status| status.message.contains("no such file or directory")));
    pod.end()
}

fn a_timeout_ends_the_command(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    let status = cri::exec(&one, &["sleep", "777"], 1).err();
    assert_eq!(
        status.map(|status| status.code),
        Some(4),
        "DEADLINE_EXCEEDED"
    );
    let runs = || {
        let all = processes::descendants();
        all.iter()
            .any(|one| processes::command_line(one.pid) == "sleep 777")
    };
    wait_until("the command to be gone", || Ok(!runs()))?;
    assert_eq!(cri.output(&one, &["echo", "on"])?, "on\n");
    pod.end()
}

/// As probes do, of which every container may have several.
fn many_commands_at_once(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    // The stock shim loses exits from 32 on.
    let count = if engine.door == Door::Shim { 100 } else { 20 };
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..count)
            .map(|number: i32| {
                let one = &one;
                scope.spawn(move || {
                    let script = format!("echo {number}; exit {}", number % 50);
                    cri::exec(one, &["sh", "-c", &script], 0)
                })
            })
            .collect();
        for (number, one) in (0..).zip(started) {
            let answer = one
                .join()
                .map_err(|_| std::io::Error::other("a thread panicked"))??;
            assert_eq!(answer.exit_code, number % 50);
            assert_eq!(answer.stdout, format!("{number}\n").into_bytes());
        }
        Done::Ok(())
    })?;
    pod.end()
}

fn open(container: &str, command: &[&str], tty: bool) -> Result<ExecStream, Failure> {
    let request = ExecRequest {
        container_id: container.to_owned(),
        cmd: command.iter().map(|word| (*word).to_owned()).collect(),
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let answer: Url = cri::call("Exec", &request)?;
    ExecStream::open(&answer.url)
}

fn a_stream_without_a_terminal(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    let script = "echo begun >&2; read line; echo heard $line; exit 12";
    let mut stream = open(&one, &["sh", "-c", script], false)?;
    stream.type_in(b"this\n")?;
    stream.expect("heard this\n")?;
    assert_eq!(stream.end()?, 12);
    assert_eq!(stream.err, b"begun\n");
    pod.end()
}

fn a_stream_with_a_terminal(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    let mut stream = open(&one, &["sh"], true)?;
    stream.expect("# ")?;
    stream.resize(33, 99)?;
    stream.type_in(
        b"while [ \"$(stty size)\" != '33 99' ]; do usleep 10000; done; echo re''sized\r",
    )?;
    stream.expect("resized")?;
    stream.type_in(b"exit 4\r")?;
    assert_eq!(stream.end()?, 4);
    pod.end()
}

fn logs_are_whole(engine: &Engine<'_>) -> Done {
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = pod.run("one", &["sh", "-c", "seq 1 5000; echo last >&2; exit 2"])?;
    assert_eq!(cri.ended(&one)?.exit_code, 2);
    let mut lines = pod.log("one")?;
    // The two streams come by two ways.
    lines.sort_by_key(|line| line.starts_with("stderr"));
    let mut wanted: Vec<String> = (1..=5000)
        .map(|number| format!("stdout {number}"))
        .collect();
    wanted.push("stderr last".to_owned());
    assert!(
        lines == wanted,
        "{} lines, the last {:?}",
        lines.len(),
        lines.last()
    );
    // What was started before goes to the file of then.
    cri::call::<Nothing>("RemoveContainer", &Id { id: one })?;
    pod.end()
}

fn stats_tell_of_the_container(engine: &Engine<'_>) -> Done {
    engine.test.controller("memory")?;
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done; exec sleep 1000";
    let one = pod.run("one", &["sh", "-c", script])?;
    wait_until("the work", || {
        Ok(pod.log("one")?.contains(&"stdout done".to_owned()))
    })?;
    let answer: ContainerStatsResponse = cri::call("ContainerStats", &Id { id: one })?;
    let stats = answer.stats.unwrap_or_default();
    let cpu = stats
        .cpu
        .unwrap_or_default()
        .usage_core_nano_seconds
        .unwrap_or_default()
        .value;
    let memory = stats
        .memory
        .unwrap_or_default()
        .working_set_bytes
        .unwrap_or_default()
        .value;
    assert!((1_000_000..60_000_000_000).contains(&cpu), "{cpu} ns");
    assert!((10_000..100_000_000).contains(&memory), "{memory} bytes");
    pod.end()
}

fn limits_are_changed(engine: &Engine<'_>) -> Done {
    engine.test.controller("memory")?;
    engine.test.controller("cpu")?;
    let cri = Cri::start(engine)?;
    let pod = cri.run(cri.pod_config("pod"))?;
    let one = sleeper(&pod)?;
    let request = UpdateContainerResourcesRequest {
        container_id: one.clone(),
        linux: Some(LinuxContainerResources {
            cpu_period: 100_000,
            cpu_quota: 30_000,
            cpu_shares: 512,
            memory_limit_in_bytes: 48 << 20,
        }),
    };
    cri::call::<Nothing>("UpdateContainerResources", &request)?;
    let control = |name: &str| {
        let dirs = cgroups::named(&format!("{}/{one}", engine.test.token)).unwrap_or_default();
        let text = dirs
            .iter()
            .find_map(|dir| std::fs::read_to_string(dir.join(name)).ok());
        text.unwrap_or_default().trim_end().to_owned()
    };
    if engine.test.place.is_unified() {
        assert_eq!(control("cpu.max"), "30000 100000");
        assert_eq!(control("memory.max"), "50331648");
    } else {
        assert_eq!(control("cpu.cfs_quota_us"), "30000");
        assert_eq!(control("cpu.shares"), "512");
        assert_eq!(control("memory.limit_in_bytes"), "50331648");
    }
    pod.end()
}

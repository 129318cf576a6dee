//! containerd and its client `ctr`: what a container does from its start to its removal.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::time::Duration;

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::containerd::{
    Containerd, DEADLINE, SHIM_RUNTIME, bind_at_host,
};
use garboard_integration_tests::engine::image::BUSYBOX;
use garboard_integration_tests::engine::{Door, Engine, doc, task};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::terminal::Terminal;
use garboard_integration_tests::{engine_cases, processes};

pub fn cases() -> Vec<Case> {
    let documented = engine_cases!([Shim](the_lines_of_the_document));
    let all = engine_cases!([Runc, Command, Shim](
        run_and_remove,
        exit_codes_come_through,
        a_detached_container_is_seen_from_outside,
        created_and_started_are_two_steps,
        a_user_a_directory_and_an_environment,
        signals_reach_init,
        a_paused_task_stands_still,
        metrics_tell_of_the_cgroup,
        standard_input_is_passed_and_closed,
        a_terminal_has_the_client_s_size,
        a_command_that_is_not_there_is_refused,
    ));
    [documented, all].concat()
}

/// By both doors, as `docs/engines.md` says.
fn the_lines_of_the_document(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let program = [(doc::PROGRAM, engine.runtime())];
    let mut shell = engine.command("sh")?;
    shell
        .env("CONTAINERD_NAMESPACE", &engine.test.token)
        .args(["-ec", &doc::block("containerd", "sh", &program)?]);
    engine
        .test
        .runtime
        .spawn(shell)?
        .wait(DEADLINE)?
        .success()?;
    let left = containerd.ctr(&["containers", "ls", "-q"])?.success()?;
    assert_eq!(left.stdout(), "");
    Ok(())
}

fn run_and_remove(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let out = containerd
        .run(
            &["--rm"],
            "one",
            &["sh", "-c", "echo hello; echo other >&2"],
        )?
        .success()?;
    assert_eq!(out.stdout(), "hello\n");
    assert_eq!(out.stderr(), "other\n");
    assert_eq!(containerd.tasks()?, []);
    let left = containerd.ctr(&["containers", "ls", "-q"])?.success()?;
    assert_eq!(left.stdout(), "");
    wait_until("the shim to be gone", || Ok(task::shims().is_empty()))
}

fn exit_codes_come_through(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    for (number, code) in [0, 1, 7, 126, 127, 255].into_iter().enumerate() {
        let script = format!("exit {code}");
        containerd
            .run(&["--rm"], &format!("e{number}"), &["sh", "-c", &script])?
            .exits_with(code)?;
    }
    // Killed by a signal from within: init is not, a child is, and the shell says so by its status.
    containerd
        .run(
            &["--rm"],
            "killed",
            &["sh", "-c", "sh -c 'kill -KILL $$'; exit $?"],
        )?
        .exits_with(137)?;
    Ok(())
}

fn a_detached_container_is_seen_from_outside(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    let (pid, status) = c.listed()?.unwrap_or_default();
    assert_eq!(status, "RUNNING");
    wait_until("the program to be run", || {
        Ok(processes::command_line(pid) == "sleep 1000")
    })?;
    let own = std::process::id().cast_signed();
    for kind in ["pid", "mnt", "ipc", "uts", "net"] {
        let inside = processes::namespace(pid, kind);
        assert!(inside.is_some(), "{kind}");
        assert_ne!(inside, processes::namespace(own, kind), "{kind}");
    }
    let dirs = c.cgroups()?;
    assert!(!dirs.is_empty());
    for dir in dirs {
        let procs = fs::read_to_string(dir.join("cgroup.procs"))?;
        assert_eq!(procs, format!("{pid}\n"), "{}", dir.display());
    }
    let shims = task::shims();
    assert_eq!(shims.len(), 1, "{shims:?}");
    let parent = processes::stat(pid).map(|stat| stat.parent);
    assert_eq!(parent, Some(shims[0]), "the shim is init's parent");
    let shown = c.call("ps", &[])?.stdout();
    assert!(shown.contains(&pid.to_string()), "{shown}");
    c.end()?;
    assert!(processes::stat(pid).is_none());
    Ok(())
}

fn created_and_started_are_two_steps(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let mut words = vec!["containers", "create"];
    match engine.door {
        Door::Shim => words.extend(["--runtime", SHIM_RUNTIME]),
        // There is no flag for it here: the shim takes what is called runc.
        Door::Runc | Door::Command => symlink(engine.runtime(), engine.bin.join("runc"))?,
    }
    words.extend([BUSYBOX, "one", "/bin/probe", "exit", "5"]);
    containerd.ctr(&words)?.success()?;
    assert_eq!(containerd.tasks()?, []);
    let out = containerd.ctr(&["tasks", "start", "one"])?.exits_with(5)?;
    assert_eq!(Report::parse(&out.stdout())?.at("/pid"), 1);
    containerd.task("one").remove_container()
}

fn a_user_a_directory_and_an_environment(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let flags = ["--rm", "--cwd", "/tmp", "--env", "COLOUR=sea green"];
    let out = containerd
        .run(&flags, "one", &["/bin/probe"])?
        .success()?
        .stdout();
    let report = Report::parse(&out)?;
    assert_eq!(report.at("/cwd"), "/tmp");
    assert_eq!(report.env("COLOUR"), Some("sea green"));
    assert_eq!(report.at("/pid"), 1);
    let capabilities = ["--rm", "--cap-drop", "CAP_CHOWN"];
    containerd
        .run(&capabilities, "two", &["chown", "1:1", "/tmp"])?
        .exits_with(1)?;
    containerd
        .run(&["--rm", "--read-only"], "three", &["touch", "/new"])?
        .exits_with(1)?;
    Ok(())
}

fn signals_reach_init(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let script = "trap 'exit 42' TERM; trap 'echo one >> /host/seen' USR1; touch /host/ready; while :; do sleep 0.05; done";
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let flags = ["--null-io", "--mount", &mount];
    let c = containerd.detached(&flags, "one", &["sh", "-c", script])?;
    wait_until("the traps to be set", || Ok(host.join("ready").is_file()))?;
    c.call("kill", &["--signal", "USR1"])?;
    wait_until("the signal to be seen", || Ok(host.join("seen").is_file()))?;
    assert_eq!(c.status()?, "RUNNING");
    c.call("kill", &["--signal", "SIGTERM"])?;
    c.await_status("STOPPED")?;
    c.try_call("kill", &["--signal", "KILL"])?
        .fails_with("process already finished")?;
    assert_eq!(c.delete()?, 42);
    let script = "sleep 1000 & sleep 1000 & echo $!; exec sleep 1000";
    let c = containerd.detached(&["--null-io"], "two", &["sh", "-c", script])?;
    let pid = c.pid()?;
    c.call("kill", &["--all", "--signal", "KILL"])?;
    c.await_status("STOPPED")?;
    assert!(c.delete()? == 137 && processes::stat(pid).is_none());
    Ok(())
}

fn a_paused_task_stands_still(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let script = "while :; do echo x >> /host/count; usleep 2000; done";
    let flags = ["--null-io", "--mount", &mount];
    let c = containerd.detached(&flags, "one", &["sh", "-c", script])?;
    let size = || fs::metadata(host.join("count")).map_or(0, |data| data.len());
    wait_until("it to count", || Ok(size() > 10))?;
    c.call("pause", &[])?;
    assert_eq!(c.status()?, "PAUSED");
    let (file, frozen) = match engine.test.place.is_unified() {
        true => ("cgroup.freeze", "1"),
        false => ("freezer.state", "FROZEN"),
    };
    assert_eq!(c.control(file)?, frozen);
    let before = size();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(size(), before, "a paused container wrote");
    c.call("resume", &[])?;
    assert_eq!(c.status()?, "RUNNING");
    wait_until("it to count on", || Ok(size() > before + 10))?;
    c.end()
}

fn metrics_tell_of_the_cgroup(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let script = "sleep 1000 & sleep 1000 & i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; : > /host/done; wait";
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let flags = ["--null-io", "--memory-limit", "67108864", "--mount", &mount];
    let c = containerd.detached(&flags, "one", &["sh", "-c", script])?;
    wait_until("the work to be done", || Ok(host.join("done").is_file()))?;
    let metrics = c.metrics()?;
    let unified = engine.test.place.is_unified();
    let number = |pointer: &str| {
        let found = metrics.pointer(pointer);
        let shown = found.map(ToString::to_string).unwrap_or_default();
        shown.trim_matches('"').parse::<u64>().unwrap_or(0)
    };
    assert_eq!(number("/pids/current"), 3, "{metrics}");
    let (limit, usage, cpu, least) = match unified {
        true => (
            "/memory/usage_limit",
            "/memory/usage",
            "/cpu/usage_usec",
            1_000,
        ),
        false => (
            "/memory/usage/limit",
            "/memory/usage/usage",
            "/cpu/usage/total",
            1_000_000,
        ),
    };
    assert_eq!(number(limit), 67_108_864, "{metrics}");
    assert!((100_000..67_108_864).contains(&number(usage)), "{metrics}");
    assert!((least..least * 10_000).contains(&number(cpu)), "{metrics}");
    c.end()
}

fn standard_input_is_passed_and_closed(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let file = engine.test.dir.join("input");
    let mut text = "0123456789abcdef".repeat(1 << 16);
    text.push('x');
    fs::write(&file, &text)?;
    let words = containerd.run_words(&["--rm"], "one", &["sh", "-c", "wc -c; echo end"]);
    let mut command = containerd.command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    command.stdin(Stdio::from(fs::File::open(&file)?));
    let out = engine.test.runtime.spawn(command)?.wait(DEADLINE)?;
    assert_eq!(out.success()?.stdout(), "1048577\nend\n");
    Ok(())
}

fn a_terminal_has_the_client_s_size(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let words = containerd.run_words(&["--rm", "--tty"], "one", &["sh"]);
    let command = containerd.command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut terminal = Terminal::start(&command, 31, 77)?;
    terminal.expect("# ")?;
    terminal.line("tty; stty size")?;
    terminal.expect("/dev/pts/0")?;
    terminal.expect("31 77")?;
    terminal.resize(40, 100)?;
    // The client hears of it by a signal, and the container by the client.
    terminal
        .line("while [ \"$(stty size)\" != '40 100' ]; do usleep 10000; done; echo re''sized")?;
    terminal.expect("resized")?;
    terminal.line("sleep 1000; echo inter''rupted")?;
    std::thread::sleep(Duration::from_millis(200));
    terminal.keys(b"\x03")?;
    terminal.expect("# ")?;
    terminal.line("exit 9")?;
    let (status, rest) = terminal.end()?;
    assert_eq!(status, Some(9), "{rest}");
    assert_eq!(containerd.tasks()?, []);
    Ok(())
}

fn a_command_that_is_not_there_is_refused(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let out = containerd.run(&["--rm"], "one", &["/bin/absent"])?;
    assert_ne!(out.code(), 0);
    let said = out.stderr();
    assert!(said.contains("absent"), "{said}");
    assert!(said.contains("no such file or directory"), "{said}");
    assert_eq!(containerd.tasks()?, []);
    assert!(!containerd.bundle("one").is_dir());
    wait_until("the shim to be gone", || Ok(task::shims().is_empty()))
}

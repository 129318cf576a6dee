//! More processes in a container: `ctr tasks exec`.

use std::fs;
use std::process::Stdio;

use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::containerd::{Containerd, DEADLINE};
use garboard_integration_tests::engine::events::Events;
use garboard_integration_tests::engine::task::Task;
use garboard_integration_tests::engine::{Door, Engine};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::terminal::Terminal;
use garboard_integration_tests::{cgroups, engine_cases, processes};

/// How many processes are started at once. The stock shim of containerd 1.6 has room for 32 exits that it has not looked at, and loses others.
fn at_once(engine: &Engine<'_>) -> usize {
    if engine.door == Door::Shim { 200 } else { 24 }
}

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        output_and_exit_codes,
        an_exec_is_in_the_container,
        input_is_passed_and_closed,
        a_terminal_is_resized,
        a_detached_exec_is_killed_alone,
        a_missing_program_is_refused_and_harms_nothing,
        two_of_one_name_are_refused,
        many_at_once,
    ))
}

fn sleeper<'c>(containerd: &'c Containerd<'_>) -> Result<Task<'c>, Failure> {
    containerd.detached(&["--null-io"], "one", &["sleep", "1000"])
}

fn output_and_exit_codes(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    for (number, code) in [0, 1, 7, 127, 255].into_iter().enumerate() {
        let script = format!("echo out {code}; echo err {code} >&2; exit {code}");
        let out = c
            .exec(&format!("e{number}"), &[], &["sh", "-c", &script])?
            .exits_with(code)?;
        assert_eq!(out.stdout(), format!("out {code}\n"));
        // The client's own words may follow.
        assert!(out.stderr().starts_with(&format!("err {code}\n")));
    }
    // Killed by a signal.
    c.exec("killed", &[], &["sh", "-c", "kill -KILL $$"])?
        .exits_with(137)?;
    assert_eq!(c.status()?, "RUNNING");
    c.end()
}

fn an_exec_is_in_the_container(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let flags = ["--cwd", "/tmp", "--user", "1000:1000"];
    let out = c.exec("e", &flags, &["/bin/probe"])?.success()?;
    let report = Report::parse(&out.stdout())?;
    assert_eq!(report.at("/cwd"), "/tmp");
    assert_eq!(report.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(report.extra_fds(), Vec::<String>::new());
    let pid = c.pid()?;
    for kind in ["pid", "mnt", "ipc", "uts", "net"] {
        let text = report.at(&format!("/namespaces/{kind}")).to_string();
        let inode = processes::namespace(pid, kind).unwrap_or(0).to_string();
        assert!(text.contains(&inode), "{kind}: {text} is not {inode}");
    }
    let cgroups = report.at("/cgroup").to_string();
    let own = format!("{}/one", engine.test.token);
    assert!(
        cgroups.contains(&own) || cgroups.contains(":/\""),
        "{cgroups}"
    );
    c.end()
}

fn input_is_passed_and_closed(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let file = engine.test.dir.join("input");
    fs::write(&file, "line\n".repeat(100_001))?;
    let words = c.exec_words("e", &[], &["sh", "-c", "wc -l; echo end"]);
    let mut command = containerd.command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    command.stdin(Stdio::from(fs::File::open(&file)?));
    let out = engine.test.runtime.spawn(command)?.wait(DEADLINE)?;
    assert_eq!(out.success()?.stdout(), "100001\nend\n");
    c.end()
}

fn a_terminal_is_resized(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let words = c.exec_words("e", &["--tty"], &["sh"]);
    let command = containerd.command(&words.iter().map(String::as_str).collect::<Vec<_>>())?;
    let mut terminal = Terminal::start(&command, 25, 90)?;
    terminal.expect("# ")?;
    terminal.line("tty; stty size")?;
    terminal.expect("/dev/pts/0")?;
    terminal.expect("25 90")?;
    terminal.resize(50, 120)?;
    terminal
        .line("while [ \"$(stty size)\" != '50 120' ]; do usleep 10000; done; echo re''sized")?;
    terminal.expect("resized")?;
    terminal.line("exit 3")?;
    let (status, rest) = terminal.end()?;
    assert_eq!(status, Some(3), "{rest}");
    c.end()
}

fn a_detached_exec_is_killed_alone(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let events = Events::listen(&containerd)?;
    c.exec("e", &["--detach"], &["sleep", "2000"])?.success()?;
    let count = || -> Result<usize, Failure> {
        let procs = c.cgroups()?;
        Ok(cgroups::processes(&procs[0]).len())
    };
    assert_eq!(count()?, 2);
    let shown = c.call("ps", &[])?.stdout();
    assert!(
        shown.contains("exec_id:\"e\"") || shown.contains("ExecID:e"),
        "{shown}"
    );
    c.call("kill", &["--exec-id", "e", "--signal", "TERM"])?;
    events.expect("one", "exit e 143")?;
    wait_until("the exec to be gone", || Ok(count()? == 1))?;
    c.try_call("delete", &["--exec-id", "e"])?.exits_with(143)?;
    assert_eq!(c.status()?, "RUNNING");
    c.end()
}

fn a_missing_program_is_refused_and_harms_nothing(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let out = c.exec("e", &[], &["/bin/absent"])?;
    assert_ne!(out.code(), 0);
    let said = out.stderr();
    assert!(said.contains("no such file or directory"), "{said}");
    let out = c.exec(
        "f",
        &["--cwd", "/absent/\0".trim_end_matches('\0')],
        &["pwd"],
    )?;
    // runc makes the directory; either is an answer, a hung or dead container is none.
    assert!(out.code() == 0 || !out.stderr().is_empty());
    c.exec("g", &[], &["true"])?.success()?;
    c.end()
}

fn two_of_one_name_are_refused(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    c.exec("e", &["--detach"], &["sleep", "2000"])?.success()?;
    c.exec("e", &[], &["true"])?.fails_with("already exists")?;
    // A name is free again once its process is deleted.
    c.exec("f", &[], &["true"])?.success()?;
    c.exec("f", &[], &["true"])?.success()?;
    c.end()
}

fn many_at_once(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = sleeper(&containerd)?;
    let events = Events::listen(&containerd)?;
    let count = at_once(engine);
    let mut started = Vec::new();
    for number in 0..count {
        let script = format!("echo {number}; exit {}", number % 100);
        let exec = format!("e{number}");
        started.push(c.exec_in_background(&exec, &[], &["sh", "-c", &script])?);
    }
    for (number, one) in started.into_iter().enumerate() {
        let code = i32::try_from(number % 100)?;
        let out = one.wait(DEADLINE * 2)?.exits_with(code)?;
        assert_eq!(out.stdout(), format!("{number}\n"));
    }
    wait_until("every exit to be told", || {
        let told = events.of("one")?;
        Ok(told.iter().filter(|one| one.starts_with("exit e")).count() >= count)
    })?;
    let told = events.of("one")?;
    for number in 0..count {
        let exit = format!("exit e{number} {}", number % 100);
        let count = told.iter().filter(|one| **one == exit).count();
        assert_eq!(count, 1, "{exit}");
    }
    c.end()
}

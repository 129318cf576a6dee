//! The command as engines see it: exit codes, streams and log records of calls that need no container.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of this test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path =
            std::env::temp_dir().join(format!("garboard-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a scratch directory");
        Scratch(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Calls the command with its state root in here.
    fn call(&self, line: &str) -> Called {
        let root = self.path("root");
        let arguments = line.split_whitespace().map(str::to_owned);
        call(
            [
                vec!["--root".to_owned(), root.display().to_string()],
                arguments.collect(),
            ]
            .concat(),
            &self.0,
        )
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // the test's verdict stands already
    }
}

/// What a call came to.
#[derive(Debug)]
struct Called {
    code: i32,
    stdout: String,
    stderr: String,
}

fn call(arguments: Vec<String>, directory: &Path) -> Called {
    let mut command = Command::new(env!("CARGO_BIN_EXE_garboard"));
    command
        .args(arguments)
        .current_dir(directory)
        .env_remove("XDG_RUNTIME_DIR");
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the command runs");
    Called {
        code: status.code().expect("an exit code"),
        stdout: String::from_utf8(stdout).expect("UTF-8"),
        stderr: String::from_utf8(stderr).expect("UTF-8"),
    }
}

#[test]
fn no_command_and_every_help_exit_with_0() {
    let scratch = Scratch::new("help");
    for line in [
        "",
        "--help",
        "-h",
        "help",
        "state --help",
        "kill -h",
        "exec --help",
        "help run",
        "run c1 --help",
    ] {
        let called = scratch.call(line);
        assert_eq!((called.code, called.stderr.as_str()), (0, ""), "{line}");
        assert!(
            called.stdout.contains("USAGE:") && called.stdout.contains("--help"),
            "{line}: {}",
            called.stdout
        );
    }
}

#[test]
fn unknown_commands_exit_with_3() {
    let scratch = Scratch::new("unknown");
    // Engines take a `checkpoint --help` that succeeds for the promise to checkpoint.
    for line in [
        "frob",
        "checkpoint --help",
        "restore --lsm-mount-context",
        "init",
        "help frob",
    ] {
        let called = scratch.call(line);
        let name = line
            .split_whitespace()
            .find(|word| *word != "help")
            .expect("a word");
        assert_eq!(called.code, 3, "{line}");
        assert!(
            called
                .stderr
                .contains(&format!("No help topic for '{name}'")),
            "{line}: {}",
            called.stderr
        );
    }
}

#[test]
fn wrong_usage_exits_with_1_and_shows_the_usage_on_standard_output() {
    let scratch = Scratch::new("usage");
    let cases = [
        ("kill", "\\\"kill\\\" requires a minimum of 1 argument(s)"),
        (
            "kill c1 9 --all",
            "\\\"kill\\\" requires a maximum of 2 argument(s)",
        ),
        ("start", "\\\"start\\\" requires exactly 1 argument(s)"),
        ("state --frob c1", "flag provided but not defined: -frob"),
        ("create --bundle", "flag needs an argument: -bundle"),
        ("--frob state", "flag provided but not defined: -frob"),
    ];
    for (line, message) in cases {
        let called = scratch.call(line);
        assert_eq!(called.code, 1, "{line}");
        assert!(
            called.stdout.starts_with("Incorrect Usage: ") && called.stdout.contains("USAGE:"),
            "{line}: {}",
            called.stdout
        );
        assert!(called.stderr.contains(message), "{line}: {}", called.stderr);
        assert_eq!(
            called.stderr.lines().count(),
            1,
            "{line}: {}",
            called.stderr
        );
    }
}

#[test]
fn global_flags_are_checked() {
    let scratch = Scratch::new("globals");
    for (line, message) in [
        ("--log-format foo list", "invalid log-format: foo"),
        ("--root / list", "root \\\"/\\\" is refused"),
        ("--rootless maybe list", "invalid value for --rootless"),
        ("--cgroup-manager foo list", "invalid cgroup-manager: foo"),
        (
            "--cgroup-manager=disabled run c1",
            "--cgroup-manager=disabled: not supported",
        ),
    ] {
        let called = scratch.call(line);
        assert_eq!(called.code, 1, "{line}");
        assert!(called.stderr.contains(message), "{line}: {}", called.stderr);
    }
    // Engines send these on every call, some of them twice.
    fs::create_dir(scratch.path("root")).expect("a root");
    let called = scratch.call("--systemd-cgroup --debug -rootless=false --systemd-cgroup --rootless auto --criu /x --log-format json list -q");
    assert_eq!(
        (called.code, called.stdout.as_str(), called.stderr.as_str()),
        (0, "", "")
    );
}

#[test]
fn a_failure_is_told_once_in_each_place() {
    let scratch = Scratch::new("log");
    let log = scratch.path("log.json");
    let log_flag = format!("--log {}", log.display());

    let plain = scratch.call("state c1");
    assert_eq!((plain.code, plain.stdout.as_str()), (1, ""));
    let text = plain
        .stderr
        .strip_prefix("time=\"")
        .expect("a record")
        .split_once('"')
        .expect("a time")
        .1;
    assert_eq!(text, " level=error msg=\"container does not exist\"\n");

    for round in 1..=2 {
        let called = scratch.call(&format!("{log_flag} --log-format json state c1"));
        assert_eq!(
            (called.code, called.stderr.as_str()),
            (1, "container does not exist\n")
        );
        let records = fs::read_to_string(&log).expect("a log");
        assert_eq!(records.lines().count(), round, "{records}");
        for record in records.lines() {
            let time = record
                .strip_prefix(r#"{"level":"error","msg":"container does not exist","time":""#)
                .and_then(|rest| rest.strip_suffix(r#""}"#))
                .expect(record);
            assert_eq!(
                (time.len(), &time[10..11], &time[19..]),
                (20, "T", "Z"),
                "{time}"
            );
        }
    }
    assert_eq!(
        scratch.call(&format!("{log_flag} delete --force c1")).code,
        0
    );
    assert_eq!(
        fs::read_to_string(&log).expect("a log").lines().count(),
        2,
        "a success wrote to the log"
    );

    let unwritable = scratch.call("--log /nonexistent/log state c1");
    assert!(
        unwritable.stderr.ends_with("container does not exist\n"),
        "{}",
        unwritable.stderr
    );
}

#[test]
fn commands_on_a_container_that_is_not_there() {
    let scratch = Scratch::new("missing");
    for (line, code) in [
        ("state c1", 1),
        ("start c1", 1),
        ("kill c1 KILL", 1),
        ("delete c1", 1),
        ("ps c1", 1),
        ("exec c1 true", 255),
    ] {
        let called = scratch.call(line);
        assert_eq!(called.code, code, "{line}");
        assert!(
            called.stderr.contains("container does not exist"),
            "{line}: {}",
            called.stderr
        );
    }
    let forced = scratch.call("delete --force c1");
    assert_eq!(
        (forced.code, forced.stdout.as_str(), forced.stderr.as_str()),
        (0, "", "")
    );
    assert!(
        scratch
            .call("kill c1 FOO")
            .stderr
            .contains(r#"unknown signal \"FOO\""#)
    );
}

#[test]
fn lists_without_containers() {
    let scratch = Scratch::new("list");
    assert_eq!(
        scratch.call("list").code,
        1,
        "a root that was named must be there"
    );
    fs::create_dir(scratch.path("root")).expect("a root");
    assert_eq!(
        scratch.call("list").stdout,
        "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
    );
    assert_eq!(scratch.call("list --format=json").stdout, "null\n");
    assert_eq!(scratch.call("list -q").stdout, "");
    assert!(
        scratch
            .call("list -f xml")
            .stderr
            .contains("invalid format option")
    );
}

#[test]
fn the_version_has_the_lines_engines_look_for() {
    let scratch = Scratch::new("version");
    for line in ["--version", "-v"] {
        let called = scratch.call(line);
        let lines: Vec<&str> = called.stdout.lines().collect();
        assert_eq!(called.code, 0);
        assert!(
            lines[0].starts_with("garboard version ") && lines[1].starts_with("commit: "),
            "{}",
            called.stdout
        );
        assert_eq!(lines[2], "spec: 1.3.0");
    }
}

#[test]
fn features_and_spec_print_json() {
    let scratch = Scratch::new("json");
    let features = scratch.call("features");
    assert_eq!((features.code, features.stderr.as_str()), (0, ""));
    assert!(
        features.stdout.starts_with("{\n") && features.stdout.ends_with("}\n"),
        "{}",
        features.stdout
    );
    for flag in ["", "--rootless"] {
        let _ = fs::remove_file(scratch.path("config.json")); // of the round before
        assert_eq!(scratch.call(&format!("spec {flag}")).code, 0);
        let config = fs::read_to_string(scratch.path("config.json")).expect("a config.json");
        assert!(
            config.starts_with("{\n\t\"ociVersion\": \"1.") && config.ends_with('}'),
            "{config}"
        );
    }
    let again = scratch.call("spec");
    assert_eq!(again.code, 1);
    assert!(
        again
            .stderr
            .contains("File config.json exists. Remove it first"),
        "{}",
        again.stderr
    );
}

#[test]
fn explain_prints_the_plan_of_a_bundle_in_two_shapes() {
    let scratch = Scratch::new("explain");
    assert_eq!(scratch.call("spec").code, 0);
    let text = scratch.call("explain");
    assert_eq!((text.code, text.stderr.as_str()), (0, ""));
    assert!(
        text.stdout.contains("config.json#/process/args"),
        "{}",
        text.stdout
    );
    let bundle = scratch.0.display();
    let json = scratch.call(&format!("explain --format json {bundle}"));
    assert!(
        json.stdout.starts_with("{\n") && json.stdout.ends_with("}\n"),
        "{}",
        json.stdout
    );
    assert_eq!(scratch.call("explain --format xml").code, 1);
    assert_eq!(scratch.call("explain /nonexistent").code, 1);
}

#[test]
fn streams_that_the_caller_closed_are_not_mistaken_for_files() {
    let scratch = Scratch::new("closed");
    let script = format!(
        "exec {} --root /x/y features 0<&- 2>&-",
        env!("CARGO_BIN_EXE_garboard")
    );
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&scratch.0)
        .output()
        .expect("sh runs");
    assert!(
        output.status.success() && output.stdout.starts_with(b"{"),
        "{output:?}"
    );
    let script = format!("exec {} spec >&- 2>&-", env!("CARGO_BIN_EXE_garboard"));
    let status = Command::new("sh")
        .args(["-c", &script])
        .current_dir(&scratch.0)
        .status()
        .expect("sh runs");
    assert!(status.success());
    assert!(
        fs::read_to_string(scratch.path("config.json"))
            .expect("a config.json")
            .ends_with('}')
    );
}

#[test]
fn generated_files_can_be_installed() {
    let scratch = Scratch::new("generate");
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            scratch
                .call(&format!("generate {shell}"))
                .stdout
                .contains("--no-subreaper")
                || shell == "fish",
            "{shell}"
        );
    }
    assert_eq!(scratch.call("generate man .").code, 0);
    let page = fs::read_to_string(scratch.path("garboard-run.8")).expect("a page");
    assert!(page.starts_with(".TH GARBOARD\\-RUN 8"), "{page}");
    assert_eq!(scratch.call("generate tcsh").code, 1);
}

//! `garboard seccomp record` on real programs, and `show` on what runs under what was recorded.
//!
//! Each program is driven from outside, over TCP and by signals, until it ends gracefully: once while it is recorded, once with the recorded
//! profile where whatever it does not allow is put to an agent, which must never be asked, and once under the profile itself, where
//! ptrace, mount and bpf are refused. Debian's tree is `$GARBOARD_TEST_DEBIAN`.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use garboard_integration_tests::bundle::{Bundle, put};
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::rootfs::probe_program;
use garboard_integration_tests::runtime::{DEADLINE, Running};
use garboard_integration_tests::seccomp::{Agent, number};
use garboard_integration_tests::terminal::Terminal;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seccomp_profiles::{Arch, Syscall, profiles};
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        a_shell_runs_as_recorded,
        python_runs_as_recorded,
        nginx_runs_as_recorded,
        redis_runs_as_recorded,
        a_rust_server_runs_as_recorded,
        a_terminal_program_is_recorded,
        a_recording_trims_an_engines_profile,
        what_stands_in_the_way_is_said_before_the_run,
        shown_filters_of_a_container,
        busybox_runs_under_the_strict_profile,
    ]
}

const SECCOMP: &str = "/linux/seccomp";

/// What the five programs must be denied.
const REFUSED: &[&str] = &["ptrace", "mount", "bpf"];

/// A program that serves.
struct Program<'a> {
    /// Its arguments; PORT is where it serves.
    args: &'a [&'a str],
    /// Files below the root.
    files: &'a [(&'a str, &'a str)],
    /// What it is sent, and a part of what it answers.
    talk: &'static [(&'static str, &'static str)],
    /// The signal that it takes and goes on.
    signal: Option<Signal>,
}

impl Program<'_> {
    /// Serves, and stays.
    fn serve(&self, running: &Running, port: u16) -> Done {
        wait_until("the server", || {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        for round in 0..5 {
            let asking: Vec<_> = self
                .talk
                .iter()
                .map(|(request, answer)| std::thread::spawn(move || ask(port, request, answer)))
                .collect();
            for thread in asking {
                thread
                    .join()
                    .map_err(|_| Failure::new("a client panicked"))??;
            }
            if let Some(signal) = self.signal
                && round == 1
            {
                kill(Pid::from_raw(running.pid()), signal)?;
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        Ok(())
    }
}

/// One connection: the request, and its answer up to the wanted part.
fn ask(port: u16, request: &str, answer: &str) -> Done {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request.as_bytes())?;
    let (mut seen, mut bytes) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&seen).contains(answer) {
        match stream.read(&mut bytes) {
            Ok(length) if length > 0 => seen.extend_from_slice(&bytes[..length]),
            ended => {
                let seen = String::from_utf8_lossy(&seen);
                return Err(Failure::new(format!(
                    "{request:?} gave {seen:?}, then {ended:?}"
                )));
            }
        }
    }
    Ok(())
}

fn stop(running: Running) -> Done {
    kill(Pid::from_raw(running.pid()), Signal::SIGTERM)?;
    running.wait(DEADLINE)?.success()?;
    Ok(())
}

/// A container on Debian's tree that shares the caller's network, over which it is driven.
fn debian<'t>(
    t: &'t Test,
    program: &Program<'_>,
    port: u16,
) -> Result<(Container<'t>, HostMount), Failure> {
    let tree = std::env::var_os("GARBOARD_TEST_DEBIAN").map(PathBuf::from);
    let Some(tree) = tree.filter(|tree| tree.join("usr/sbin/nginx").is_file()) else {
        return Err(Failure::skip(
            "no tree with servers at $GARBOARD_TEST_DEBIAN",
        ));
    };
    let filled = |text: &str| text.replace("PORT", &port.to_string());
    let args: Vec<String> = program.args.iter().map(|arg| filled(arg)).collect();
    let bundle = Bundle::args(args.iter().map(String::as_str))
        .capabilities(&[
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_KILL",
            "CAP_SETGID",
            "CAP_SETUID",
        ])
        .without_namespace("network")
        .writable()
        .root(|root| root.bare());
    let c = t.container(&bundle)?;
    let scratch = t.scratch(&format!("overlay-{}", c.id))?;
    let mount = HostMount::overlay(&tree, &scratch, &c.path("/"))?;
    for (path, content) in program.files {
        std::fs::write(c.path(path), filled(content))?;
    }
    std::fs::copy(probe_program()?, c.path("/bin/probe"))?;
    let server = probe_program()?.with_file_name("server");
    std::fs::copy(server, c.path("/bin/server"))?;
    Ok((c, mount))
}

/// Runs the container, with nothing left of the run before: a database would first have to load it.
fn run_afresh(c: &Container<'_>) -> Result<Running, Failure> {
    for entry in std::fs::read_dir(c.path("/tmp"))? {
        let path = entry?.path();
        if path.is_dir() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    c.run_in_background()
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// `seccomp TOOL ARGS`, not yet run.
fn tool(t: &Test, words: &[&str]) -> Command {
    let mut command = t.runtime.command(["seccomp"]);
    command.args(words);
    command
}

fn record_command(t: &Test, c: &Container<'_>, output: &std::path::Path) -> Command {
    let mut command = tool(t, &["record", "--output"]);
    command.arg(output).arg(&c.bundle);
    command
}

/// Gives the bundle a profile.
fn set_profile(c: &Container<'_>, profile: Value) -> Done {
    let path = c.bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    put(&mut config, SECCOMP, profile);
    std::fs::write(path, config.to_string())?;
    Ok(())
}

fn read(path: &std::path::Path) -> Result<Value, Failure> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// The profile of a container, changed so that an agent is asked for whatever it does not allow.
fn put_to(agent: &Agent, profile: &Value) -> Value {
    let mut asking = profile.clone();
    asking["defaultAction"] = json!("SCMP_ACT_NOTIFY");
    asking["listenerPath"] = json!(agent.path);
    if let Some(members) = asking.as_object_mut() {
        members.remove("defaultErrnoRet");
    }
    asking
}

/// Nothing was put to it but the call in which the runtime waits until the agent has the listener, before there is a program.
fn never_asked(agent: &Agent) -> Done {
    assert_eq!(agent.given()?.len(), 1);
    let asked: Vec<String> = agent
        .calls()
        .iter()
        .enumerate()
        .filter(|(at, (_, call))| *at > 0 || *call != number("recvmsg"))
        .map(|(_, (_, call))| {
            let named = Arch::native().and_then(|arch| Syscall::numbered(arch, *call));
            named.map_or_else(|| call.to_string(), |known| known.name().to_owned())
        })
        .collect();
    assert!(asked.is_empty(), "denied: {asked:?}");
    Ok(())
}

/// The running container is refused these calls, by what the kernel has loaded and by trying.
fn refuses(t: &Test, c: &Container<'_>) -> Done {
    for name in REFUSED {
        let shown = t
            .runtime
            .finish(tool(t, &["show", &c.id, "--syscall", name]))?;
        let shown = shown.success()?.stdout();
        assert!(shown.contains("SCMP_ACT_ERRNO(1)"), "{shown}");
        let tried = c.exec(&["/bin/probe", "call", &number(name).to_string()])?;
        tried.exits_with(nix::errno::Errno::EPERM as i32)?;
    }
    Ok(())
}

/// Records a program, and runs it again under what was recorded, and under the default profile.
fn recorded(t: &Test, program: &Program<'_>) -> Done {
    t.not_for_runc("has no tools for profiles")?;
    let port = free_port()?;
    let (c, _root) = debian(t, program, port)?;
    let output = t.dir.join("profile.json");
    let running = t.runtime.spawn(record_command(t, &c, &output))?;
    program.serve(&running, port)?;
    stop(running)?;
    let profile = read(&output)?;
    for name in REFUSED {
        assert!(
            !profile["syscalls"][0]["names"]
                .to_string()
                .contains(&format!("\"{name}\""))
        );
    }

    let agent = Agent::listen(&t.dir.join("agent"), &[])?;
    set_profile(&c, put_to(&agent, &profile))?;
    let running = run_afresh(&c)?;
    program.serve(&running, port)?;
    stop(running)?;
    never_asked(&agent)?;

    for profile in [profile, serde_json::from_str(profiles::DEFAULT)?] {
        let by_default = profile["comment"].is_array();
        set_profile(&c, profile)?;
        let running = run_afresh(&c)?;
        program.serve(&running, port)?;
        if !by_default {
            refuses(t, &c)?;
        }
        stop(running)?;
    }
    Ok(())
}

fn a_shell_runs_as_recorded(t: &Test) -> Done {
    // A script that also has a child, pipes, files, globs and a job that it kills. perl is there to accept connections.
    let script = r#"
        trap 'kill $server; wait; rm -r /tmp/work; exit 0' TERM
        trap 'ls /usr/bin | wc -l >/tmp/count' HUP
        mkdir -p /tmp/work/a && cd /tmp/work && echo text >a/file && cat <a/file | tr a-z A-Z >b
        [[ $(<b) == TEXT ]] && ln -s b c && mv c d && for f in *; do test -e "$f"; done
        sleep 1000 & kill -KILL $!; wait $!
        perl -MIO::Socket::INET -e '
            my $s = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1:PORT", ReuseAddr => 1) or die;
            while (1) { my $c = $s->accept or next; my $l = <$c>; print $c `echo heard $l`; close $c }' & server=$!
        while :; do read -t 0.1 </dev/null; sleep 0.05; done"#;
    recorded(
        t,
        &Program {
            args: &["bash", "-c", script],
            files: &[],
            talk: &[("one\n", "heard one"), ("two\n", "heard two")],
            signal: Some(Signal::SIGHUP),
        },
    )
}

fn python_runs_as_recorded(t: &Test) -> Done {
    let script = r#"
import http.server, signal, subprocess, sys, tempfile, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with tempfile.TemporaryFile() as file:
            file.write(subprocess.run(["uname", "-s"], capture_output=True).stdout)
            file.seek(0)
            body = file.read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
signal.signal(signal.SIGHUP, lambda *_: print("reloaded", flush=True))
server.serve_forever()
"#;
    recorded(
        t,
        &Program {
            args: &["python3", "-c", script],
            files: &[],
            talk: &[("GET / HTTP/1.0\r\n\r\n", "Linux"); 3],
            signal: Some(Signal::SIGHUP),
        },
    )
}

fn nginx_runs_as_recorded(t: &Test) -> Done {
    let config = "daemon off; worker_processes 2; error_log stderr; pid /tmp/nginx.pid; events {} http { access_log /tmp/log; gzip on; \
        server { listen 127.0.0.1:PORT; root /usr/share/nginx/html; location /again { return 302 /; } } }";
    recorded(
        t,
        &Program {
            args: &["nginx", "-c", "/etc/nginx/case.conf"],
            files: &[("/etc/nginx/case.conf", config)],
            talk: &[
                ("GET / HTTP/1.0\r\n\r\n", "Welcome to nginx"),
                ("GET /again HTTP/1.0\r\n\r\n", "302"),
                ("GET /nothing HTTP/1.0\r\n\r\n", "404"),
            ],
            // Its workers are replaced.
            signal: Some(Signal::SIGHUP),
        },
    )
}

fn redis_runs_as_recorded(t: &Test) -> Done {
    recorded(
        t,
        &Program {
            args: &[
                "redis-server",
                "--port",
                "PORT",
                "--dir",
                "/tmp",
                "--appendonly",
                "yes",
            ],
            files: &[],
            talk: &[
                ("PING\r\n", "+PONG"),
                ("SET key value\r\nGET key\r\n", "value"),
                ("RPUSH list 1 2 3\r\nLRANGE list 0 2\r\n", "*3"),
                ("SAVE\r\n", "OK"),
                ("EVAL \"return 6*7\" 0\r\n", ":42"),
            ],
            signal: None,
        },
    )
}

fn a_rust_server_runs_as_recorded(t: &Test) -> Done {
    recorded(
        t,
        &Program {
            args: &["/bin/server", "PORT"],
            files: &[],
            talk: &[("GET / HTTP/1.0\r\n\r\n", "served 16 bytes"); 4],
            signal: Some(Signal::SIGHUP),
        },
    )
}

fn a_terminal_program_is_recorded(t: &Test) -> Done {
    t.not_for_runc("has no tools for profiles")?;
    let bundle = Bundle::args(["sh"]).set("/process/terminal", json!(true));
    let c = t.container(&bundle.writable())?;
    let output = t.dir.join("profile.json");
    let used = |command: &Command| -> Done {
        let mut shell = Terminal::start(command, 24, 80)?;
        shell.line("PS1='now''> '; echo $((6 * 7))-sum")?;
        shell.expect("42-sum")?;
        shell.expect("now> ")?;
        shell.line("stty size")?;
        shell.expect("24 80")?;
        // The interrupt key is the container's, not the recorder's.
        shell.line("sleep 1000")?;
        shell.expect("sleep 1000\n")?;
        std::thread::sleep(Duration::from_millis(300));
        shell.keys(b"\x03")?;
        shell.expect("now> ")?;
        shell.line("exit 5")?;
        let (status, rest) = shell.end()?;
        assert_eq!(status, Some(5), "{rest:?}");
        Ok(())
    };
    used(&record_command(t, &c, &output))?;
    let agent = Agent::listen(&t.dir.join("agent"), &[])?;
    set_profile(&c, put_to(&agent, &read(&output)?))?;
    used(&c.run_command(&[]))?;
    never_asked(&agent)
}

fn a_recording_trims_an_engines_profile(t: &Test) -> Done {
    t.not_for_runc("has no tools for profiles")?;
    // A bundle that has a profile: it does not count while it is recorded.
    let engines: Value = serde_json::from_str(include_str!(
        "../../../../seccomp-profiles/tests/profiles/docker.json"
    ))?;
    let bundle = Bundle::shell("ls / | cat >/dev/null; setsid sleep 1000 & echo done")
        .set(SECCOMP, json!({"defaultAction": "SCMP_ACT_KILL"}));
    let c = t.container(&bundle)?;
    let (whole, output) = (t.dir.join("docker.json"), t.dir.join("profile.json"));
    std::fs::write(&whole, engines.to_string())?;
    let mut command = record_command(t, &c, &output);
    command.arg("--trim").arg(&whole);
    // Also with a process that outlives the first one.
    let said = t.runtime.finish(command)?.success()?.stdout();
    assert_eq!(said, "done\n");
    let trimmed = read(&output)?;
    let names = |profile: &Value| {
        profile["syscalls"][0]["names"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert!(names(&trimmed) > 20 && names(&trimmed) < names(&engines) / 3);
    set_profile(&c, trimmed)?;
    assert_eq!(c.run_ok()?.stdout(), "done\n");
    Ok(())
}

fn what_stands_in_the_way_is_said_before_the_run(t: &Test) -> Done {
    t.not_for_runc("has no tools for profiles")?;
    let out = t.scratch("out")?;
    let bundle = Bundle::shell("echo ran >/out/ran").bind(&out, "/out", &[]);
    let c = t.container(&bundle.root(|root| root.dir("out", 0o755)))?;
    let nowhere = t.dir.join("no/such/directory/profile.json");
    let refused = t.runtime.finish(record_command(t, &c, &nowhere))?;
    refused.fails_with("no/such/directory/profile.json: ")?;
    let mut command = record_command(t, &c, &t.dir.join("profile.json"));
    std::fs::write(t.dir.join("broken.json"), r#"{"defaultAction": "NOTHING"}"#)?;
    command.arg("--trim").arg(t.dir.join("broken.json"));
    t.runtime.finish(command)?.fails_with("/defaultAction")?;
    assert!(std::fs::symlink_metadata(out.join("ran")).is_err());
    let left: Vec<_> = std::fs::read_dir(&t.dir)?
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("profile.json")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

fn shown_filters_of_a_container(t: &Test) -> Done {
    t.not_for_runc("has no tools for profiles")?;
    let engines: Value = serde_json::from_str(include_str!(
        "../../../../seccomp-profiles/tests/profiles/docker.json"
    ))?;
    let script = "trap 'exit 7' TERM; while :; do sleep 0.01; echo tick; done";
    let c = t.container(&Bundle::shell(script).set(SECCOMP, engines))?;
    let running = c.run_in_background()?;
    wait_until("the shell", || Ok(running.stdout_so_far().contains("tick")))?;
    let pid = c.pid()?.to_string();
    for who in [c.id.as_str(), &pid] {
        let shown = t
            .runtime
            .finish(tool(t, &["show", who]))?
            .success()?
            .stdout();
        for words in [
            "load arch",
            "(SCMP_ARCH_X86_64)",
            "return SCMP_ACT_ERRNO(38)",
            "\n  read\n",
            "clone (other arguments: SCMP_ACT_ERRNO(1))",
            "any other number: SCMP_ACT_ERRNO(38)",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        let denied = shown.split("SCMP_ACT_ERRNO(1): ").nth(1).unwrap_or("");
        assert!(denied.contains("\n  mount\n"), "{denied}");
    }
    for _ in 0..50 {
        let words = ["show", &pid, "--syscall", "clone", "--args", "0x10000000"];
        let shown = t.runtime.finish(tool(t, &words))?.success()?.stdout();
        assert!(shown.contains("SCMP_ACT_ERRNO(1)"), "{shown}");
    }
    // It goes on unharmed, and takes its signals.
    let before = running.stdout_so_far().len();
    wait_until("more ticks", || Ok(running.stdout_so_far().len() > before))?;
    kill(Pid::from_raw(running.pid()), Signal::SIGTERM)?;
    running.wait(DEADLINE)?.exits_with(7)?;
    let own = std::process::id().to_string();
    let refused = |who: &str, text: &str| -> Done {
        t.runtime
            .finish(tool(t, &["show", who]))?
            .fails_with(text)?;
        Ok(())
    };
    refused("2147483647", "there is no process 2147483647")?;
    refused(
        "no-such-container",
        "neither the number of a process nor the id",
    )?;
    refused(&own, "has no seccomp filter")
}

fn busybox_runs_under_the_strict_profile(t: &Test) -> Done {
    let script = "echo text >/tmp/a && ls -l /tmp | wc -l && cat /tmp/a | tr a-z A-Z && (sleep 0.1 & wait) && \
        mknod /tmp/null c 1 3 2>/dev/null || echo no device; nc -l -p 80 2>/dev/null || echo no socket; chown 1 /tmp/a 2>/dev/null || echo no owner";
    let profile: Value = serde_json::from_str(profiles::STRICT)?;
    let bundle = Bundle::shell(script)
        .capabilities(&["CAP_CHOWN", "CAP_MKNOD", "CAP_NET_BIND_SERVICE"])
        .set("/process/noNewPrivileges", json!(true))
        .writable()
        .set(SECCOMP, profile);
    let said = t.container(&bundle)?.run_ok()?.stdout();
    assert_eq!(said, "2\nTEXT\nno device\nno socket\nno owner\n");
    Ok(())
}

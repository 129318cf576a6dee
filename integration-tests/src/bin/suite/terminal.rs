//! Terminals and what else is handed over by sockets and descriptors: console and pidfd sockets, preserved and listening descriptors, notify.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::probe::Report;
use garboard_integration_tests::sockets::{FdSocket, NotifySocket};
use garboard_integration_tests::{cases, processes, sys};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        the_console_socket_gets_the_master,
        the_process_has_a_controlling_terminal,
        the_console_size_is_set,
        exec_with_a_terminal,
        a_terminal_belongs_to_the_user,
        detach_with_a_terminal_needs_a_socket,
        a_console_socket_without_a_terminal_is_refused,
        run_in_the_foreground_copies_the_terminal,
        the_pidfd_socket_gets_a_pidfd,
        preserved_descriptors_are_passed,
        a_preserved_descriptor_that_is_not_open_is_refused,
        listen_fds_are_passed_first,
        listen_fds_of_another_process_are_not_passed,
        the_notify_socket_is_proxied,
        exec_preserves_descriptors,
    ]
}

/// Creates the container with a console socket; what came over it.
fn with_console(t: &Test, c: &Container<'_>) -> Result<std::fs::File, Failure> {
    let socket = FdSocket::listen(&t.dir.join(format!("console{}", t.ids().len())))?;
    t.runtime
        .finish(c.create_command(&["--console-socket", &socket.path.to_string_lossy()]))?
        .success()?;
    let mut message = socket.receive()?;
    assert_eq!(message.fds.len(), 1, "one descriptor");
    assert!(
        message.payload.starts_with("/dev/pts/")
            || t.runtime.is_runc() && !message.payload.is_empty(),
        "{:?}",
        message.payload
    );
    Ok(std::fs::File::from(message.fds.remove(0)))
}

/// Reads a terminal's master until the other side has closed.
fn read_all(mut master: std::fs::File) -> String {
    let mut text = Vec::new();
    // EIO is how a terminal ends.
    let _ = master.read_to_end(&mut text);
    String::from_utf8_lossy(&text).replace("\r\n", "\n")
}

fn terminal_bundle(args: &[&str]) -> Bundle {
    Bundle::args(args.iter().copied()).set("/process/terminal", json!(true))
}

fn the_console_socket_gets_the_master(t: &Test) -> Done {
    let c = t.container(&terminal_bundle(&[
        "sh",
        "-c",
        "read line; echo got $line; tty",
    ]))?;
    let mut master = with_console(t, &c)?;
    c.start()?;
    master.write_all(b"hello\n")?;
    let text = read_all(master);
    assert!(text.contains("got hello\n/dev/"), "{text:?}");
    Ok(())
}

fn the_process_has_a_controlling_terminal(t: &Test) -> Done {
    let c = t.container(&terminal_bundle(&["/bin/probe"]))?;
    let master = with_console(t, &c)?;
    c.start()?;
    let seen = Report::parse(&read_all(master))?;
    assert_eq!(seen.at("/terminal/controlling"), true);
    assert_eq!(
        seen.at("/terminal/console"),
        seen.at("/terminal/rdev"),
        "/dev/console is this terminal"
    );
    assert_eq!(seen.at("/sid"), seen.at("/pid"));
    assert_eq!(seen.extra_fds(), [""; 0]);
    Ok(())
}

fn the_console_size_is_set(t: &Test) -> Done {
    let c = t.container(
        &terminal_bundle(&["/bin/probe"])
            .set("/process/consoleSize", json!({"height": 33, "width": 77})),
    )?;
    let master = with_console(t, &c)?;
    assert_eq!(sys::terminal_size(master.as_raw_fd())?, (33, 77));
    c.start()?;
    let seen = Report::parse(&read_all(master))?;
    assert_eq!(
        (seen.at("/terminal/rows"), seen.at("/terminal/columns")),
        (&json!(33), &json!(77))
    );
    Ok(())
}

fn exec_with_a_terminal(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let socket = FdSocket::listen(&t.dir.join("exec"))?;
    let running = t.runtime.spawn(c.command(
        "exec",
        &[
            "--tty",
            "--detach",
            "--console-socket",
            &socket.path.to_string_lossy(),
        ],
        &["/bin/probe"],
    ))?;
    let mut message = socket.receive()?;
    let master = std::fs::File::from(message.fds.remove(0));
    let reader = std::thread::spawn(move || read_all(master));
    running
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .success()?;
    let text = reader
        .join()
        .map_err(|_| Failure::new("the reader ended"))?;
    let seen = Report::parse(&text)?;
    assert_eq!(seen.at("/terminal/controlling"), true);
    assert_eq!(seen.extra_fds(), [""; 0]);
    Ok(())
}

fn a_terminal_belongs_to_the_user(t: &Test) -> Done {
    let c = t.container(
        &terminal_bundle(&["/bin/probe"]).set("/process/user", json!({"uid": 1000, "gid": 1000})),
    )?;
    let master = with_console(t, &c)?;
    c.start()?;
    let seen = Report::parse(&read_all(master))?;
    assert_eq!(seen.at("/fds/0/uid"), 1000);
    assert_eq!(seen.at("/terminal/controlling"), true);
    Ok(())
}

fn detach_with_a_terminal_needs_a_socket(t: &Test) -> Done {
    let c = t.container(&terminal_bundle(&["true"]))?;
    c.try_create()?
        .exits_with(1)?
        .fails_with("cannot allocate tty if runc will detach without setting console socket")
        .map(drop)
        .or_else(|failure| {
            // Ours bears our name.
            if failure
                .to_string()
                .contains("will detach without setting console socket")
            {
                Ok(())
            } else {
                Err(failure)
            }
        })
}

fn a_console_socket_without_a_terminal_is_refused(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    let socket = FdSocket::listen(&t.dir.join("unused"))?;
    t.runtime
        .finish(c.create_command(&["--console-socket", &socket.path.to_string_lossy()]))?
        .exits_with(1)?
        .fails_with("cannot use console socket")?;
    Ok(())
}

fn run_in_the_foreground_copies_the_terminal(t: &Test) -> Done {
    let c = t.container(&terminal_bundle(&[
        "sh",
        "-c",
        "stty size; read line; echo got $line; exit 9",
    ]))?;
    let pty = nix::pty::openpty(
        &nix::pty::Winsize {
            ws_row: 21,
            ws_col: 65,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
        None,
    )?;
    let run = c.run_command(&[]);
    // A session of its own with the terminal as its controlling one, as a login shell has it.
    let mut command = Command::new("setsid");
    command
        .args(["--ctty", "--wait"])
        .arg(run.get_program())
        .args(run.get_args());
    command
        .stdin(Stdio::from(pty.slave.try_clone()?))
        .stdout(Stdio::from(pty.slave.try_clone()?))
        .stderr(Stdio::from(pty.slave));
    let mut child = command.spawn()?;
    // The slave's copies in the command would keep the terminal open.
    drop(command);
    let mut master = std::fs::File::from(pty.master);
    c.await_status_or_absent("running")?;
    master.write_all(b"typed\n")?;
    let reader = std::thread::spawn(move || read_all(master));
    let until = Instant::now() + Duration::from_secs(10);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(Failure::new("the foreground run hangs"));
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    processes::end_descendants();
    let text = reader
        .join()
        .map_err(|_| Failure::new("the reader ended"))?;
    assert!(text.contains("got typed"), "{text:?}");
    assert!(
        t.runtime.is_runc() || text.contains("21 65"),
        "the size of the caller's terminal: {text:?}"
    );
    assert_eq!(status.code(), Some(9));
    Ok(())
}

fn the_pidfd_socket_gets_a_pidfd(t: &Test) -> Done {
    t.not_for_runc("1.1 has no --pidfd-socket")?;
    let c = t.container(&Bundle::sleeper())?;
    let socket = FdSocket::listen(&t.dir.join("pidfd"))?;
    t.runtime
        .finish(c.create_command(&["--pidfd-socket", &socket.path.to_string_lossy()]))?
        .success()?;
    let message = socket.receive()?;
    assert_eq!(
        (message.payload.as_str(), message.fds.len()),
        ("standard", 1)
    );
    let info =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", message.fds[0].as_raw_fd()))?;
    assert!(info.contains(&format!("Pid:\t{}\n", c.pid()?)), "{info}");
    c.start()?;
    let socket = FdSocket::listen(&t.dir.join("pidfd-exec"))?;
    c.call(
        "exec",
        &["--pidfd-socket", &socket.path.to_string_lossy()],
        &["true"],
    )?
    .success()?;
    assert_eq!(socket.receive()?.payload, "setns");
    Ok(())
}

fn preserved_descriptors_are_passed(t: &Test) -> Done {
    let file = t.dir.join("preserved");
    std::fs::write(&file, "x")?;
    let c = t.container(&Bundle::probe())?;
    let open = format!("exec 3<{0} 4<{0} 5<{0} 6<{0}", file.display());
    let out = t
        .runtime
        .finish(
            t.runtime
                .from_shell(&open, &c.run_command(&["--preserve-fds", "2"])),
        )?
        .success()?;
    let seen = Report::parse(&out.stdout())?;
    let passed: Vec<String> = seen
        .extra_fds()
        .iter()
        .map(|fd| fd.split(' ').next().unwrap_or("").to_owned())
        .collect();
    assert_eq!(passed, ["3", "4"]);
    assert_eq!(
        seen.at("/fds/3/ino"),
        &json!(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(
            &file
        )?))
    );
    Ok(())
}

fn a_preserved_descriptor_that_is_not_open_is_refused(t: &Test) -> Done {
    t.not_for_runc("1.1 takes a descriptor of its own for it")?;
    let c = t.container(&Bundle::args(["true"]))?;
    let out = t
        .runtime
        .finish(c.create_command(&["--preserve-fds", "1"]))?;
    out.exits_with(1)?
        .fails_with("unable to stat preserved-fd")?
        .fails_with("(of 1)")?;
    Ok(())
}

/// Runs the probe with two descriptors and LISTEN_* in the environment of the runtime.
fn listening(t: &Test, listen_pid: &str, flags: &[&str]) -> Result<Report, Failure> {
    let c = t.container(&Bundle::probe())?;
    let (one, two) = (t.dir.join("one"), t.dir.join("two"));
    std::fs::write(&one, "1")?;
    std::fs::write(&two, "2")?;
    let open = format!(
        "exec 3<{} 4<{}; export LISTEN_FDS=1 LISTEN_PID={listen_pid} LISTEN_FDNAMES=x",
        one.display(),
        two.display()
    );
    let out = t
        .runtime
        .finish(t.runtime.from_shell(&open, &c.run_command(flags)))?
        .success()?;
    Report::parse(&out.stdout())
}

fn listen_fds_are_passed_first(t: &Test) -> Done {
    let seen = listening(t, "$$", &["--preserve-fds", "1"])?;
    let links: Vec<&str> = ["/fds/3/link", "/fds/4/link"]
        .iter()
        .map(|at| seen.at(at).as_str().unwrap_or(""))
        .collect();
    assert!(
        links[0].ends_with("/one") && links[1].ends_with("/two"),
        "{links:?}"
    );
    assert_eq!(
        (
            seen.env("LISTEN_FDS"),
            seen.env("LISTEN_PID"),
            seen.env("LISTEN_FDNAMES")
        ),
        (Some("1"), Some("1"), None)
    );
    Ok(())
}

fn listen_fds_of_another_process_are_not_passed(t: &Test) -> Done {
    t.not_for_runc("1.1 ignores LISTEN_PID")?;
    let seen = listening(t, "1", &[])?;
    assert_eq!((seen.extra_fds().len(), seen.env("LISTEN_FDS")), (0, None));
    Ok(())
}

fn the_notify_socket_is_proxied(t: &Test) -> Done {
    let host = NotifySocket::listen(&t.dir.join("notify"))?;
    let c = t.container(
        &Bundle::shell("/bin/notify && exec sleep 1000").root(|root| root.dir("run/notify", 0o755)),
    )?;
    std::fs::copy(
        garboard_integration_tests::rootfs::probe_program()?.with_file_name("notify"),
        c.path("/bin/notify"),
    )?;
    let mut create = c.create_command(&[]);
    create.env("NOTIFY_SOCKET", &host.path);
    t.runtime.finish(create)?.success()?;
    let mut start = c.command("start", &[], &[]);
    start.env("NOTIFY_SOCKET", &host.path);
    let running = t.runtime.spawn(start)?;
    let mut said = String::new();
    wait_until("READY and MAINPID", || {
        said.push_str(&host.receive()?);
        said.push('\n');
        Ok(said.contains("READY=1") && said.contains("MAINPID="))
    })?;
    if !t.runtime.is_runc() {
        // 1.1 has no barrier. Read, it is lifted: the fd that comes with it is closed.
        assert_eq!(host.receive()?, "BARRIER=1");
    }
    running
        .wait(garboard_integration_tests::runtime::DEADLINE)?
        .success()?;
    assert!(said.contains(&format!("MAINPID={}", c.pid()?)), "{said:?}");
    Ok(())
}

fn exec_preserves_descriptors(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    let command = c.command("exec", &["--preserve-fds", "1"], &["/bin/probe"]);
    let out = t
        .runtime
        .finish(t.runtime.from_shell("exec 3</etc/passwd 4</", &command))?
        .success()?;
    let seen = Report::parse(&out.stdout())?;
    assert_eq!(seen.extra_fds(), ["3 -> /etc/passwd"]);
    Ok(())
}

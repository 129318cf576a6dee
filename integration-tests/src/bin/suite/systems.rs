//! Whole systems: a busybox and a Debian root filesystem run a shell for somebody at a terminal, and a service of many processes.
//!
//! Debian's tree is `$GARBOARD_TEST_DEBIAN`, which `make` has mmdebstrap fill once; an overlay on it is the container's root.

use std::collections::BTreeSet;
use std::path::PathBuf;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::place::HostMount;
use garboard_integration_tests::runtime::DEADLINE;
use garboard_integration_tests::terminal::Terminal;
use garboard_integration_tests::{cases, processes};
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_shell_in_busybox,
        a_shell_in_debian,
        debian_changes_users_and_packages,
        a_service_in_busybox,
        a_service_in_debian,
    ]
}

/// What Docker gives a container: enough for daemons that change their user.
const USUAL: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A container whose root is Debian, and the mount of that root.
fn debian<'t>(t: &'t Test, bundle: Bundle) -> Result<(Container<'t>, HostMount), Failure> {
    let tree = std::env::var_os("GARBOARD_TEST_DEBIAN").map(PathBuf::from);
    let Some(tree) = tree.filter(|tree| tree.join("etc/debian_version").is_file()) else {
        return Err(Failure::skip("no tree at $GARBOARD_TEST_DEBIAN"));
    };
    let bundle = bundle
        .capabilities(USUAL)
        .set("/process/noNewPrivileges", json!(false))
        .writable()
        .root(|root| root.bare());
    let c = t.container(&bundle)?;
    let mount = HostMount::overlay(&tree, &t.scratch("overlay")?, &c.path("/"))?;
    Ok((c, mount))
}

/// What somebody does at a shell: commands, pipes, the interrupt key, a window of another size, jobs, and the end.
fn used_interactively(shell: &mut Terminal) -> Done {
    // Only a shell that is ready has set the terminal up.
    shell.line("PS1='now''> '; echo $((6 * 7))-sum")?;
    shell.expect("42-sum")?;
    shell.expect("now> ")?;
    shell.line("stty size; tty | tr a-z A-Z")?;
    shell.expect("24 80\n/DEV/")?;
    shell.resize(40, 132)?;
    shell.line("sleep 0.2; stty size")?;
    shell.expect("40 132")?;
    shell.expect("now> ")?;
    shell.line("sleep 1000")?;
    shell.expect("sleep 1000\n")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    shell.keys(b"\x03")?;
    shell.expect("now> ")?;
    shell.line("echo was $? | tr a-z A-Z")?;
    shell.expect("WAS 130")?;
    shell.line("sleep 1000 & kill -KILL %1; wait %1; echo job $? | tr a-z A-Z")?;
    shell.expect("JOB 137")?;
    shell.line("echo a file >/tmp/note; cat /tmp/note | tr a-z A-Z")?;
    shell.expect("A FILE")?;
    shell.line("exit 5")
}

fn ends_with(terminal: Terminal, wanted: i32) -> Done {
    let (status, rest) = terminal.end()?;
    assert_eq!(status, Some(wanted), "{rest:?}");
    Ok(())
}

fn a_shell_in_busybox(t: &Test) -> Done {
    let bundle = Bundle::args(["sh"]).set("/process/terminal", json!(true));
    let c = t.container(&bundle.writable())?;
    let mut shell = Terminal::start(&c.run_command(&[]), 24, 80)?;
    used_interactively(&mut shell)?;
    ends_with(shell, 5)
}

fn a_shell_in_debian(t: &Test) -> Done {
    let bundle = Bundle::args(["bash", "--norc"]).set("/process/terminal", json!(true));
    let (c, _root) = debian(t, bundle)?;
    let mut shell = Terminal::start(&c.run_command(&[]), 24, 80)?;
    used_interactively(&mut shell)?;
    ends_with(shell, 5)
}

fn debian_changes_users_and_packages(t: &Test) -> Done {
    let (c, _root) = debian(t, Bundle::args(["sleep", "1000"]))?;
    c.run_detached()?;
    let said = |script: &str| -> Result<String, Failure> {
        Ok(c.exec(&["bash", "-ec", script])?.success()?.stdout())
    };
    assert_eq!(
        said("useradd -m someone && su someone -c 'id -un; umask; pwd' && su - someone -c pwd")?,
        "someone\n0022\n/\n/home/someone\n"
    );
    assert!(said("dpkg-query -W | wc -l")?.trim().parse::<u32>()? > 50);
    let script = "mkdir -p /tmp/p/DEBIAN /tmp/p/opt && printf 'Package: made-here\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@example.org>\\nDescription: x\\n' \
         >/tmp/p/DEBIAN/control && echo yes >/tmp/p/opt/made && dpkg-deb -b /tmp/p /tmp/p.deb >/dev/null && dpkg -i /tmp/p.deb >/dev/null && cat /opt/made";
    assert_eq!(said(script)?, "yes\n");
    c.kill("KILL")?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

/// The processes of a running container, by their numbers on the host.
fn pids(c: &Container<'_>) -> Result<BTreeSet<i32>, Failure> {
    Ok(serde_json::from_value(
        c.call("ps", &["--format", "json"], &[])?
            .success()?
            .json()?,
    )?)
}

/// A service under all that is done to one: asked from several sides, told to reload, one of its processes shot, a shell opened in it, stopped.
fn serves(t: &Test, c: &Container<'_>, shell: &str, ask: &[&str], answer: &str) -> Done {
    let created = c.create()?;
    c.start()?;
    wait_until("the service", || Ok(created.stdout().contains("ready\n")))?;
    let asking: Vec<_> = (0..4)
        .map(|_| t.runtime.spawn(c.command("exec", &[], ask)))
        .collect::<Result<_, _>>()?;
    for client in asking {
        let text = client.wait(DEADLINE)?.success()?.stdout();
        assert!(text.contains(answer), "{text:?}");
    }
    let before = pids(c)?;
    assert!(before.len() >= 3, "{before:?}");
    c.kill("HUP")?;
    wait_until("the reload", || Ok(created.stdout().contains("reloaded\n")))?;

    let worker = created
        .lines()
        .iter()
        .find_map(|line| line.strip_prefix("worker ")?.parse::<u32>().ok())
        .ok_or_else(|| Failure::new("no worker's number"))?;
    c.exec(&[shell, "-c", &format!("kill -KILL {worker}")])?
        .success()?;
    wait_until("another worker", || {
        Ok(created.stdout().matches("worker ").count() > 1)
    })?;

    let exec = c.command("exec", &["--tty"], &[shell]);
    let mut terminal = Terminal::start(&exec, 24, 80)?;
    used_interactively(&mut terminal)?;
    ends_with(terminal, 5)?;

    let all = pids(c)?;
    assert!(all.len() >= 3, "{all:?}");
    c.kill("TERM")?;
    c.await_status("stopped")?;
    assert!(
        created.stdout().ends_with("stopped\n"),
        "{:?}",
        created.stdout()
    );
    wait_until("the end of all", || {
        Ok(all
            .iter()
            .all(|pid| processes::stat(*pid).is_none_or(|stat| stat.state == 'Z')))
    })?;
    c.delete()?;
    Ok(())
}

/// The supervisor of both services: workers are started again when they die, and all end before it does. `$1` is the worker's command.
const SUPERVISOR: &str = r#"
work() { sh -c "$1" & worker=$!; echo worker $worker; }
trap 'echo reloaded' HUP
trap 'ending=1; kill $worker $ticker; wait $worker $ticker; echo stopped; exit 0' TERM
while :; do echo tick >/tmp/tick; sleep 0.05; done & ticker=$!
work "$1"
while :; do
	wait $worker
	[ -n "$ending" ] || kill -0 $worker 2>/dev/null || work "$1"
done
"#;

fn a_service_in_busybox(t: &Test) -> Done {
    // The server forks for each connection.
    let worker = "busybox httpd -p 127.0.0.1:80 -h /www; echo ready; exec busybox httpd -f -p 127.0.0.1:81 -h /www";
    let bundle = Bundle::args([
        "sh",
        "-c",
        &format!("ifconfig lo up\n{SUPERVISOR}"),
        "sh",
        worker,
    ])
    .writable()
    .capabilities(&["CAP_KILL", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE"])
    .root(|root| root.file("www/index.html", 0o644, "a page\n"));
    let c = t.container(&bundle)?;
    let ask = [
        "busybox",
        "wget",
        "-q",
        "-O",
        "-",
        "http://127.0.0.1/index.html",
    ];
    serves(t, &c, "sh", &ask, "a page\n")
}

fn a_service_in_debian(t: &Test) -> Done {
    // A server with three processes that accept on one socket.
    let worker = r#"exec perl -MIO::Socket::UNIX -e '
        unlink "/tmp/s";
        my $s = IO::Socket::UNIX->new(Listen => 5, Local => "/tmp/s") or die;
        for (1 .. 2) { last if !fork }
        print "ready\n"; close STDOUT;
        while (my $c = $s->accept) { print $c "served\n"; close $c }'"#;
    let (c, _root) = debian(t, Bundle::args(["bash", "-c", SUPERVISOR, "bash", worker]))?;
    let ask = [
        "perl",
        "-MIO::Socket::UNIX",
        "-e",
        "my $s = IO::Socket::UNIX->new(Peer => '/tmp/s') or die; print <$s>",
    ];
    serves(t, &c, "bash", &ask, "served\n")
}

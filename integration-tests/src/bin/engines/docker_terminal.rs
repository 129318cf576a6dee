//! Docker: somebody at a terminal, by `docker run -it`, `exec -it` and `attach`.

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::docker::Docker;
use garboard_integration_tests::engine::{Engine, image};
use garboard_integration_tests::engine_cases;
use garboard_integration_tests::terminal::Terminal;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](run, exec, attach))
}

/// What is at the terminal: its size, which follows the window's, ctrl-c, and the status of the shell.
pub fn converse(mut terminal: Terminal, status: i32) -> Done {
    // The client tells the size when the container runs already.
    terminal.line("tty; until stty size 2>&-; do sleep 0.05; done")?;
    terminal.expect("/dev/pts/")?;
    terminal.expect("24 80\n")?;
    terminal.resize(50, 132)?;
    // The client learns of it by a signal and tells the daemon: not at once.
    terminal.line("until stty size | grep '50 1..'; do sleep 0.05; done")?;
    terminal.expect("50 132\n")?;
    terminal.line("trap 'echo inter''rupted' INT; sleep 1000")?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    terminal.keys(b"\x03")?;
    terminal.expect("interrupted")?;
    terminal.line(&format!("exit {status}"))?;
    let (code, rest) = terminal.end()?;
    assert_eq!(code, Some(status), "{rest}");
    Ok(())
}

fn run(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    let words = ["run", "-it", "--rm", "--hostname=there", image::BUSYBOX];
    converse(docker.at_terminal(&words)?, 4)?;
    // A terminal for output alone: lines end as they do there.
    assert_eq!(docker.prints(&["--tty"], &["echo", "one"])?, "one\r\n");
    docker.end()
}

fn exec(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    docker.run_in_background("one", &[], &["sleep", "1000"])?;
    converse(docker.at_terminal(&["exec", "-it", "one", "sh"])?, 6)?;
    assert_eq!(docker.inspect("one", "{{.State.Running}}")?, "true");
    docker.end()
}

/// A terminal that one leaves and comes back to.
fn attach(engine: &Engine<'_>) -> Done {
    let docker = Docker::start(engine)?;
    docker.run_in_background("one", &["--interactive", "--tty"], &["sh"])?;
    let mut terminal = docker.at_terminal(&["attach", "one"])?;
    terminal.line("X=kept; echo set''ting")?;
    terminal.expect("setting\n")?;
    terminal.keys(b"\x10\x11")?;
    let (_, rest) = terminal.end()?;
    assert!(rest.contains("read escape sequence"), "{rest}");
    let mut terminal = docker.at_terminal(&["attach", "one"])?;
    terminal.line("echo it was $X")?;
    terminal.expect("it was kept\n")?;
    terminal.line("exit 3")?;
    assert_eq!(terminal.end()?.0, Some(3));
    docker.end()
}

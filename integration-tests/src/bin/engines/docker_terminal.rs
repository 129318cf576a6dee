//! Docker: somebody at a terminal, by `docker run -it`, `exec -it` and `attach`.

use std::time::Duration;

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
    terminal.line("tty")?;
    terminal.expect("/dev/pts/")?;
    // A change is lost as long as an engine does not yet count the container as running, and one to the size that there is makes no signal.
    for (rows, columns) in [(50, 132), (30, 100)] {
        terminal.line(&format!(
            "until stty size | grep '^{rows} {columns}$'; do sleep 0.05; done"
        ))?;
        let size = format!("{rows} {columns}\n");
        let mut told = false;
        for _ in 0..20 {
            terminal.resize(rows, columns - 1)?;
            std::thread::sleep(Duration::from_millis(50));
            terminal.resize(rows, columns)?;
            told = terminal.shows(&size, Duration::from_secs(1))?;
            if told {
                break;
            }
        }
        assert!(told, "the terminal never had {size:?}");
    }
    terminal.line("trap 'echo inter''rupted' INT; sleep 1000")?;
    std::thread::sleep(Duration::from_millis(300));
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

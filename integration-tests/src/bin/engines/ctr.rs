//! containerd and its client `ctr`: what a container does from its start to its removal.

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::containerd::Containerd;
use garboard_integration_tests::engine_cases;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](run_and_remove))
}

fn run_and_remove(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let out = containerd
        .run(&["--rm"], "one", &["sh", "-c", "echo hello; exit 7"])?
        .exits_with(7)?;
    assert_eq!(out.stdout(), "hello\n");
    assert_eq!(
        containerd.ctr(&["tasks", "ls", "-q"])?.success()?.stdout(),
        ""
    );
    Ok(())
}

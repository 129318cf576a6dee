//! Real hooks: shell scripts given as arguments.

use std::ffi::CString;

use super::*;

fn shell(script: &str) -> Hook {
    let args = ["sh", "-c", script].map(|arg| CString::new(arg).unwrap());
    Hook {
        path: c"/bin/sh".to_owned(),
        args: args.into(),
        env: Some(Vec::new()),
        timeout_s: None,
    }
}

fn failure(hook: &Hook) -> String {
    HookError {
        kind: HookKind::Prestart,
        index: 0,
        failure: run(hook, b"{}").unwrap_err(),
    }
    .to_string()
}

#[test]
fn a_hook_gets_state_arguments_environment_and_root_directory() {
    let mut hook = shell(
        r#"read -r state; [ "$state" = '{"id":"c1"}' ] && [ "$(pwd)" = / ] && [ "$A" = "b=c" ] && [ -z "$HOME" ]"#,
    );
    hook.env = Some(vec![c"A=b=c".to_owned()]);
    run(&hook, b"{\"id\":\"c1\"}\n").unwrap();
    hook.env = None;
    hook.args[2] = c"[ -n \"$PATH\" ] && [ \"$PATH\" = \"$(tr '\\0' '\\n' < /proc/$PPID/environ | sed -n 's/^PATH=//p')\" ]".to_owned();
    run(&hook, b"").unwrap();
}

#[test]
fn a_failing_hook_is_reported_with_its_output() {
    assert_eq!(
        failure(&shell("echo out; echo err >&2; exit 3")),
        "error running prestart hook #0: exit status 3, stdout: out\n, stderr: err\n"
    );
    assert_eq!(
        failure(&shell("kill -9 $$")),
        "error running prestart hook #0: signal 9, stdout: , stderr: "
    );
    let missing = Hook {
        path: c"/nonexistent/hook".to_owned(),
        ..shell("")
    };
    assert_eq!(
        failure(&missing),
        "error running prestart hook #0: cannot execute /nonexistent/hook: ENOENT"
    );
}

#[test]
fn a_hook_that_hangs_is_killed_in_time() {
    let started = Instant::now();
    let hook = Hook {
        timeout_s: Some(1),
        ..shell("exec sleep 60")
    };
    assert_eq!(
        failure(&hook),
        "error running prestart hook #0: hook ran past specified timeout of 1.0s"
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn much_output_neither_blocks_nor_is_kept() {
    let Err(HookFailure::Ended { stdout, .. }) =
        run(&shell("head -c 1000000 /dev/zero; exit 1"), b"")
    else {
        panic!()
    };
    assert_eq!(stdout.len(), KEPT);
}

#[test]
fn a_large_state_that_nobody_reads_and_a_grandchild_that_stays() {
    let started = Instant::now();
    run(&shell("sleep 3 & exit 0"), &vec![b' '; 1_000_000]).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_hook_that_writes_without_end_is_killed_in_time() {
    let started = Instant::now();
    let hook = Hook {
        timeout_s: Some(1),
        ..shell("cat /dev/zero & exec cat /dev/zero")
    };
    assert!(failure(&hook).ends_with("hook ran past specified timeout of 1.0s"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

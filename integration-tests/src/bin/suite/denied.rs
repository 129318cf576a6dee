//! Under a seccomp profile that denies a call the runtime stands on (nested, or an old engine's profile): one clear error that names the call.

use std::process::Command;

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::leaks;
use garboard_integration_tests::{cases, sys};

pub fn cases() -> Vec<Case> {
    cases![
        a_denied_clone3_is_named,
        a_denied_openat2_is_named,
        a_denied_open_tree_is_named,
        a_denied_move_mount_is_named,
        a_denied_mount_setattr_is_named,
        a_denied_memfd_create_is_named,
    ]
}

const CALLS: [(&str, i64); 6] = [
    ("clone3", libc::SYS_clone3),
    ("openat2", libc::SYS_openat2),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("memfd_create", libc::SYS_memfd_create),
];

/// Becomes `args[2..]` under a filter that gives the errno `args[1]` for the call `args[0]`. Returns only on failure.
pub fn run_denied(args: &[String]) -> Failure {
    use std::os::unix::process::CommandExt;
    let [call, errno, program, rest @ ..] = args else {
        return Failure::new("--deny CALL ERRNO COMMAND...");
    };
    let number = CALLS
        .iter()
        .find(|(name, _)| name == call)
        .map_or(-1, |(_, number)| *number);
    let (Ok(number), Ok(errno)) = (u32::try_from(number), errno.parse::<u32>()) else {
        return Failure::new("no such call");
    };
    match sys::load_filter(&filter(number, errno)) {
        Ok(()) => Command::new(program).args(rest).exec().into(),
        Err(e) => e.into(),
    }
}

fn filter(number: u32, errno: u32) -> [libc::sock_filter; 4] {
    let line = |code: u32, jt, jf, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    [
        line(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        line(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
        line(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | errno,
        ),
        line(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
}

fn denied(t: &Test, call: &str) -> Done {
    // Docker's profile gives EPERM for what it denies and ENOSYS for what it is too old to know.
    for errno in [libc::EPERM, libc::ENOSYS] {
        let source = t.scratch("source")?;
        let c = t.container(&Bundle::args(["true"]).bind(&source, "/mnt", &["rro", "rbind"]))?;
        let traced = c.run_command(&[]);
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["--deny", call, &errno.to_string()])
            .arg(traced.get_program())
            .args(traced.get_args());
        let out = t.runtime.finish(command)?;
        if !t.runtime.is_runc() {
            let out = out.exits_with(1)?;
            assert!(
                out.stderr().contains(call),
                "{call} is not named: {}",
                out.stderr()
            );
            assert_eq!(out.stderr().lines().count(), 1, "{}", out.stderr());
        }
        let left = leaks::left_in(&t.token, &t.runtime.root)?;
        assert!(left.is_empty(), "{left:?}");
    }
    Ok(())
}

fn a_denied_clone3_is_named(t: &Test) -> Done {
    denied(t, "clone3")
}

fn a_denied_openat2_is_named(t: &Test) -> Done {
    denied(t, "openat2")
}

fn a_denied_open_tree_is_named(t: &Test) -> Done {
    denied(t, "open_tree")
}

fn a_denied_move_mount_is_named(t: &Test) -> Done {
    denied(t, "move_mount")
}

fn a_denied_mount_setattr_is_named(t: &Test) -> Done {
    denied(t, "mount_setattr")
}

fn a_denied_memfd_create_is_named(t: &Test) -> Done {
    denied(t, "memfd_create")
}

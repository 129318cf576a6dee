//! What a rule of `linux.seccomp` says is what the call meets: actions, arguments, calls that the profile does not know.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::seccomp::{allow_but, number, outcomes, profile};
use nix::errno::Errno;
use serde_json::{Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        every_action_does_what_it_says,
        an_action_that_kills_ends_the_container,
        arguments_are_compared_as_numbers_of_64_bits,
        newer_calls_are_unknown_and_known_ones_denied,
        an_unknown_call_is_passed_over,
        a_filter_that_is_too_large_is_refused,
    ]
}

const SECCOMP: &str = "/linux/seccomp";

/// A call that no libc makes by itself, ignores its arguments, and always succeeds.
const FREE: &str = "getppid";

/// SIGSYS (signal(7)).
const SIGSYS: i32 = 31;

fn every_action_does_what_it_says(t: &Test) -> Done {
    let getppid = number(FREE).to_string();
    let calls = ["/bin/probe", "calls", &getppid];
    let table = [
        (json!({"action": "SCMP_ACT_ALLOW"}), 0),
        (json!({"action": "SCMP_ACT_LOG"}), 0),
        (json!({"action": "SCMP_ACT_ERRNO"}), Errno::EPERM as i32),
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 5}), 5),
        // errnoRet 0 makes the call succeed without being made.
        (json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}), 0),
        // Nobody traces it.
        (json!({"action": "SCMP_ACT_TRACE"}), Errno::ENOSYS as i32),
        (json!({"action": "SCMP_ACT_TRAP"}), -SIGSYS),
        (json!({"action": "SCMP_ACT_KILL"}), -SIGSYS),
        (json!({"action": "SCMP_ACT_KILL_THREAD"}), -SIGSYS),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), -SIGSYS),
    ];
    for (mut rule, wanted) in table {
        rule["names"] = json!([FREE]);
        let mut seccomp = allow_but(&[]);
        // libseccomp takes no rule whose action is the default one.
        if rule["action"] == "SCMP_ACT_ALLOW" {
            seccomp["defaultAction"] = json!("SCMP_ACT_LOG");
        }
        seccomp["syscalls"] = json!([rule]);
        let c = t.container(&Bundle::args(calls).set(SECCOMP, seccomp))?;
        assert_eq!(outcomes(&c.run_ok()?)?, [wanted], "{rule}");
    }
    Ok(())
}

fn an_action_that_kills_ends_the_container(t: &Test) -> Done {
    let spec = number(FREE).to_string();
    for action in [
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_TRAP",
    ] {
        let bundle = Bundle::args(["/bin/probe", "call", &spec])
            .set(SECCOMP, allow_but(&[(&[FREE], action)]));
        t.container(&bundle)?.run()?.exits_with(128 + SIGSYS)?;
    }
    let bundle = Bundle::sleeper().set(SECCOMP, allow_but(&[(&[FREE], "SCMP_ACT_KILL_PROCESS")]));
    let c = t.container(&bundle)?;
    c.run_detached()?;
    c.exec(&["/bin/probe", "call", &spec])?
        .exits_with(128 + SIGSYS)?;
    assert_eq!(c.status()?, "running");
    Ok(())
}

fn arguments_are_compared_as_numbers_of_64_bits(t: &Test) -> Done {
    const HIGH: u64 = 0x1234_5678_9abc_def0;
    let table = [
        (
            "SCMP_CMP_EQ",
            HIGH,
            0,
            vec![HIGH],
            vec![HIGH & 0xffff_ffff, HIGH + 1],
        ),
        ("SCMP_CMP_NE", HIGH, 0, vec![HIGH - 1, 0], vec![HIGH]),
        (
            "SCMP_CMP_LT",
            HIGH,
            0,
            vec![HIGH - 1, 0xffff_ffff],
            vec![HIGH, u64::MAX],
        ),
        (
            "SCMP_CMP_LE",
            HIGH,
            0,
            vec![HIGH, 0xffff_ffff],
            vec![HIGH + 1, u64::MAX],
        ),
        (
            "SCMP_CMP_GT",
            HIGH,
            0,
            vec![HIGH + 1, u64::MAX],
            vec![HIGH, 0xffff_ffff],
        ),
        (
            "SCMP_CMP_GE",
            HIGH,
            0,
            vec![HIGH, u64::MAX],
            vec![HIGH - 1, 0xffff_ffff],
        ),
        (
            "SCMP_CMP_MASKED_EQ",
            0xff00_0000_0000_0001,
            0x1200_0000_0000_0000_u64,
            vec![0x1234_5678_9abc_def0],
            vec![0x1234_5678_9abc_def1, 0x1334_5678_9abc_def0],
        ),
    ];
    for (op, value, value_two, held, not_held) in table {
        let rule = json!({"names": [FREE], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
                          "args": [{"index": 3, "value": value, "valueTwo": value_two, "op": op}]});
        let mut seccomp = allow_but(&[]);
        seccomp["syscalls"] = json!([rule]);
        let specs: Vec<String> = held
            .iter()
            .chain(&not_held)
            .map(|argument| format!("{},0,0,0,{argument},0,0", number(FREE)))
            .collect();
        let args = ["/bin/probe", "calls"]
            .into_iter()
            .chain(specs.iter().map(String::as_str));
        let c = t.container(&Bundle::args(args).set(SECCOMP, seccomp))?;
        let mut wanted = vec![7; held.len()];
        wanted.extend(vec![0; not_held.len()]);
        assert_eq!(outcomes(&c.run_ok()?)?, wanted, "{op}");
    }
    Ok(())
}

/// Every call up to openat2, of Linux 5.6, but those given.
fn all_of_5_6_but(left_out: &[&str]) -> Vec<&'static str> {
    seccomp_profiles::Syscall::all()
        .filter(|call| {
            let native = seccomp_profiles::Arch::native();
            native
                .and_then(|native| call.number(native))
                .is_some_and(|of| of <= number("openat2"))
        })
        .map(seccomp_profiles::Syscall::name)
        .filter(|name| !left_out.contains(name))
        .collect()
}

fn newer_calls_are_unknown_and_known_ones_denied(t: &Test) -> Done {
    let allowed = all_of_5_6_but(&["mount", FREE]);
    let mut seccomp = profile("SCMP_ACT_ERRNO", &[(&allowed, "SCMP_ACT_ALLOW")]);
    // Without it runc 1.1 answers EPERM to all.
    let native = seccomp_profiles::Arch::native().map(seccomp_profiles::Arch::name);
    seccomp["architectures"] = json!([native]);
    let specs = [
        number("mount"),
        number(FREE),
        number("faccessat2"),
        number("landlock_restrict_self"),
        499,
        700,
    ];
    let specs = specs.map(|number| number.to_string());
    let args = || {
        ["/bin/probe", "calls"]
            .into_iter()
            .chain(specs.iter().map(String::as_str))
    };
    let (denied, unknown) = (Errno::EPERM as i32, Errno::ENOSYS as i32);
    let c = t.container(&Bundle::args(args()).set(SECCOMP, seccomp.clone()))?;
    assert_eq!(
        outcomes(&c.run_ok()?)?,
        [denied, denied, unknown, unknown, unknown, unknown]
    );
    // An errno of the profile's own is for the known ones.
    let mut own = seccomp;
    own["defaultErrnoRet"] = json!(13);
    let c = t.container(&Bundle::args(args()).set(SECCOMP, own))?;
    assert_eq!(
        outcomes(&c.run_ok()?)?,
        [13, 13, unknown, unknown, unknown, unknown]
    );
    Ok(())
}

fn an_unknown_call_is_passed_over(t: &Test) -> Done {
    let seccomp = allow_but(&[(&["from_the_future", "mount"], "SCMP_ACT_ERRNO")]);
    let spec = number("mount").to_string();
    let c = t.container(&Bundle::args(["/bin/probe", "calls", &spec]).set(SECCOMP, seccomp))?;
    assert_eq!(outcomes(&c.run_ok()?)?, [Errno::EPERM as i32]);
    Ok(())
}

fn a_filter_that_is_too_large_is_refused(t: &Test) -> Done {
    let rules: Vec<Value> = (0..6000)
        .map(|value| json!({"names": [FREE], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": value * 3, "op": "SCMP_CMP_EQ"}]}))
        .collect();
    let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules});
    let out = t
        .container(&Bundle::args(["true"]).set(SECCOMP, seccomp))?
        .try_create()?;
    if !t.runtime.is_runc() {
        out.fails_with("config.json#/linux/seccomp: ")?;
    }
    Ok(())
}

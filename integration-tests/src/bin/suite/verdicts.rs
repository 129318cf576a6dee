//! The kernel and the library agree: what a default profile says of hundreds of calls is what a process in the container meets.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::seccomp::{BLOCKED, number, outcomes};
use seccomp_profiles::{Action, Arch, Profile, Ruleset, Syscall};
use serde_json::Value;

pub fn cases() -> Vec<Case> {
    cases![
        five_hundred_calls_under_dockers_profile,
        five_hundred_calls_under_podmans_profile
    ]
}

const DOCKER: &str = include_str!("../../../fixtures/engines/docker.json");
const PODMAN: &str = include_str!("../../../fixtures/engines/podman.json");

/// Calls that cannot be tried, and why.
const LEFT_OUT: [(&str, &str); 5] = [
    ("pause", "waits for ever"),
    ("vfork", "its child runs on the stack of the caller"),
    (
        "rt_sigreturn",
        "takes whatever is on the stack for registers",
    ),
    ("sync", "waits for every disk of the machine"),
    (
        "uretprobe",
        "the kernel makes it without asking a filter (since Linux 6.14), and kills whoever calls it",
    ),
];

/// Arguments that a profile asks for.
const WITH_ARGUMENTS: [(&str, &[u64]); 24] = [
    ("personality", &[0]),
    ("personality", &[8]),
    ("personality", &[0x2_0000]),
    ("personality", &[0x2_0008]),
    ("personality", &[0xffff_ffff]),
    ("personality", &[1]),
    ("personality", &[0x1_0000_0000]),
    ("socket", &[1, 2, 0]),
    ("socket", &[2, 1, 0]),
    ("socket", &[16, 3, 0]),
    ("socket", &[16, 3, 9]),
    ("socket", &[40, 1, 0]),
    ("socket", &[38, 5, 0]),
    ("socket", &[0x1_0000_0028, 1, 0]),
    ("clone", &[0x7e02_0000, 0, 0, 0, 0]),
    ("clone", &[0x1000_0000, 0, 0, 0, 0]),
    ("clone", &[0x0002_0000, 0, 0, 0, 0]),
    ("clone", &[17, 0, 0, 0, 0]),
    ("kcmp", &[0, 0, 0, 0, 0]),
    ("ptrace", &[0x4206, 0, 0, 0]),
    ("setns", &[0, 0]),
    ("unshare", &[0]),
    ("keyctl", &[0, 0, 0]),
    ("bpf", &[0, 0, 0]),
];

fn five_hundred_calls_under_dockers_profile(t: &Test) -> Done {
    agrees(t, DOCKER)
}

fn five_hundred_calls_under_podmans_profile(t: &Test) -> Done {
    agrees(t, PODMAN)
}

/// A call to try: number and arguments.
type Call = (u32, [u64; 6]);

fn calls(native: Arch) -> Vec<Call> {
    let left_out: Vec<u32> = LEFT_OUT.iter().map(|(name, _)| number(name)).collect();
    let mut all: Vec<Call> = Syscall::all()
        .filter_map(|call| call.number(native))
        .filter(|number| !left_out.contains(number))
        .map(|number| (number, [u64::MAX; 6]))
        .collect();
    for (name, given) in WITH_ARGUMENTS {
        let mut arguments = [u64::MAX; 6];
        arguments[..given.len()].copy_from_slice(given);
        all.push((number(name), arguments));
    }
    // Numbers that no call has yet, as many as are wanting.
    let unused = (470..).map(|number| (number, [u64::MAX; 6]));
    let wanting = 500_usize.saturating_sub(all.len());
    all.extend(unused.take(wanting));
    all
}

fn agrees(t: &Test, config: &str) -> Done {
    let native = Arch::native().ok_or_else(|| Failure::skip("no table for this architecture"))?;
    let config: Value = serde_json::from_str(config)?;
    let seccomp = config["linux"]["seccomp"].clone();
    let rules = Ruleset::new(&Profile::from_value(&seccomp)?, native)?;
    let calls = calls(native);
    assert!(calls.len() >= 500, "{}", calls.len());
    let specs: Vec<String> = calls
        .iter()
        .map(|(number, arguments)| {
            let words = arguments.map(|argument| argument.to_string());
            format!("{number},{}", words.join(","))
        })
        .collect();
    let args = ["/bin/probe", "calls"]
        .into_iter()
        .chain(specs.iter().map(String::as_str));
    let plain = Bundle::args(args).set(
        "/process/capabilities",
        config["process"]["capabilities"].clone(),
    );
    // What the kernel says of these calls without a filter.
    let bare = outcomes(&t.container(&plain)?.run_ok()?)?;
    let seen = outcomes(
        &t.container(&plain.set("/linux/seccomp", seccomp))?
            .run_ok()?,
    )?;
    let (mut wrong, mut told_apart) = (Vec::new(), 0);
    for (at, (number, arguments)) in calls.iter().enumerate() {
        let verdict = rules.decide(native.audit(), *number, *arguments);
        let wanted = match verdict.action {
            Action::Allow => bare[at],
            Action::Errno(errno) => i32::from(errno),
            other => {
                return Err(Failure::new(format!(
                    "{number}: {other:?} is not tried here"
                )));
            }
        };
        told_apart += u32::from(wanted != bare[at]);
        if seen[at] != wanted || bare[at] == BLOCKED {
            let name = Syscall::numbered(native, *number).map_or("?", Syscall::name);
            wrong.push(format!(
                "{name} ({number}) {arguments:x?}: {:?}, without a filter {}, seen {}",
                verdict, bare[at], seen[at]
            ));
        }
    }
    assert!(
        told_apart >= 40,
        "only {told_apart} calls end differently with the filter"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

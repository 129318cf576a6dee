//! The conformance suite: `suite [--place native|v2|vm|user]... [--driver cgroupfs|systemd]... [--list] [--jobs N] [WORD]...`.
//!
//! The runtime is `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program. Cases are grouped by subject, one file each.

mod apparmor;
mod attacks;
mod broken;
mod canary;
mod cgroup_paths;
mod commands;
mod delete;
mod denied;
mod devices;
mod engines;
mod events;
mod exec;
mod hooks;
mod lifecycle;
mod limits;
mod mounts;
mod namespaces;
mod nesting;
mod notify;
mod paths;
mod pause;
mod privileges;
mod process;
mod propagation;
mod random_limits;
mod recording;
mod rootless;
mod seccomp;
mod seccomp_own_calls;
mod seccomp_rules;
mod settings;
mod sub_cgroups;
mod systemd;
mod systems;
mod terminal;
mod update;
mod values;
mod verdicts;

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--deny") {
        eprintln!("suite: {}", denied::run_denied(&args[1..]));
        return std::process::ExitCode::from(2);
    }
    let cases = [
        lifecycle::cases(),
        commands::cases(),
        process::cases(),
        privileges::cases(),
        apparmor::cases(),
        seccomp::cases(),
        seccomp_own_calls::cases(),
        seccomp_rules::cases(),
        notify::cases(),
        verdicts::cases(),
        namespaces::cases(),
        mounts::cases(),
        propagation::cases(),
        paths::cases(),
        devices::cases(),
        limits::cases(),
        values::cases(),
        random_limits::cases(),
        hooks::cases(),
        exec::cases(),
        pause::cases(),
        systemd::cases(),
        events::cases(),
        update::cases(),
        delete::cases(),
        terminal::cases(),
        attacks::cases(),
        broken::cases(),
        denied::cases(),
        engines::cases(),
        systems::cases(),
        recording::cases(),
        rootless::cases(),
        nesting::cases(),
        sub_cgroups::cases(),
        cgroup_paths::cases(),
    ];
    let status = garboard_integration_tests::runner::main(cases.concat());
    std::process::ExitCode::from(u8::try_from(status).unwrap_or(2))
}

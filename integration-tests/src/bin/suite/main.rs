//! The conformance suite: `suite [--place native|v2] [--list] [--jobs N] [WORD]...`.
//!
//! The runtime is `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program. Cases are grouped by subject, one file each.

mod attacks;
mod commands;
mod devices;
mod exec;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod paths;
mod privileges;
mod process;
mod propagation;
mod terminal;

fn main() -> std::process::ExitCode {
    let cases = [
        lifecycle::cases(),
        commands::cases(),
        process::cases(),
        privileges::cases(),
        namespaces::cases(),
        mounts::cases(),
        propagation::cases(),
        paths::cases(),
        devices::cases(),
        hooks::cases(),
        exec::cases(),
        terminal::cases(),
        attacks::cases(),
    ];
    let status = garboard_integration_tests::runner::main(cases.concat());
    std::process::ExitCode::from(u8::try_from(status).unwrap_or(2))
}

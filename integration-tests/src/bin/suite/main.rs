//! The conformance suite: `suite [--place native|v2] [--list] [--jobs N] [WORD]...`.
//!
//! The runtime is `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program. Cases are grouped by subject, one file each.

mod devices;
mod exec;
mod hooks;
mod lifecycle;
mod mounts;
mod namespaces;
mod process;
mod terminal;

fn main() -> std::process::ExitCode {
    let cases = [
        lifecycle::cases(),
        process::cases(),
        namespaces::cases(),
        mounts::cases(),
        devices::cases(),
        hooks::cases(),
        exec::cases(),
        terminal::cases(),
    ]
    .concat();
    std::process::ExitCode::from(
        u8::try_from(garboard_integration_tests::runner::main(cases)).unwrap_or(2),
    )
}

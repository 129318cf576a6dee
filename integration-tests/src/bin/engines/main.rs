//! The engines' suite: `engines [--door command|shim|runc]... [--place native|v2|vm]... [--list] [--jobs N] [WORD]...`.
//!
//! The runtime is `$GARBOARD_TEST_RUNTIME`, or `garboard` beside this program; its shim `$GARBOARD_TEST_SHIM`, or `containerd-shim-garboard-v2` beside the
//! runtime. Cases are grouped by engine and subject, one file each, and are named `DOOR::FILE::CASE`.

mod buildah;
mod compose;
mod cri;
mod cri_exec;
mod cri_systemd;
mod ctr;
mod ctr_events;
mod ctr_exec;
mod ctr_io;
mod ctr_survival;
mod docker;
mod docker_build;
mod docker_life;
mod docker_network;
mod docker_terminal;
mod installed;
mod installed_podman;
mod podman;
mod podman_pods;
mod podman_rootless;
mod shim_edge;
mod shim_events;
mod shim_load;
mod shim_start;
mod shim_task;

fn main() -> std::process::ExitCode {
    let cases = [
        ctr::cases(),
        ctr_exec::cases(),
        ctr_io::cases(),
        ctr_events::cases(),
        ctr_survival::cases(),
        cri::cases(),
        cri_exec::cases(),
        cri_systemd::cases(),
        docker::cases(),
        docker_life::cases(),
        docker_terminal::cases(),
        docker_network::cases(),
        docker_build::cases(),
        compose::cases(),
        podman::cases(),
        podman_pods::cases(),
        podman_rootless::cases(),
        buildah::cases(),
        installed::cases(),
        installed_podman::cases(),
        shim_start::cases(),
        shim_task::cases(),
        shim_events::cases(),
        shim_load::cases(),
        shim_edge::cases(),
    ];
    let status = garboard_integration_tests::runner::main(cases.concat());
    std::process::ExitCode::from(u8::try_from(status).unwrap_or(2))
}

//! The systemd driver: the container's cgroup is a unit of systemd's, asked for over D-Bus.

#[allow(dead_code)]
mod annotations;
#[allow(dead_code, unused_imports)]
mod bus;
#[allow(dead_code)]
mod devices;
#[allow(dead_code)]
mod properties;
#[allow(dead_code)]
mod unit;
mod variant;

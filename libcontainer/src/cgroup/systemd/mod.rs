//! The systemd driver: the container's cgroup is a unit of systemd's, asked for over D-Bus.
//!
//! ```text
//!   unit         linux.cgroupsPath → name, slice, cgroup       pure
//!   properties   planned writes    → properties                pure
//!   devices      device rules      → DevicePolicy, DeviceAllow pure
//!   annotations  org.systemd.property.* → properties           pure
//!   plan         all of these, decided before anything is made
//!   endpoint     where systemd listens
//!   bus          D-Bus, with a deadline
//!   client       systemd's methods
//!   join         the unit around the first process, and its end
//! ```
//!
//! A container costs one StartTransientUnit with every property at once, and nothing else: the unit ends with its last process and is
//! collected even if it has failed, so a delete only waits until systemd has removed the cgroup, and a container whose creator was killed
//! leaves none. The version of systemd is not asked for: a property that an older one refuses is left out in a second attempt, and its file
//! is written in any case.

mod annotations;
mod bus;
mod client;
mod devices;
mod endpoint;
mod join;
mod plan;
mod properties;
mod unit;
mod variant;

pub use plan::{UnitPlan, UnitRecord};

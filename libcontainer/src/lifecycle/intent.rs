//! The record that is written before anything is made: all that a later delete, start or exec must know, should this process end here.

use crate::bundle::Bundle;
use crate::cgroup::CgroupPlan;
use crate::config::{Config, Namespace};
use crate::error::Error;
use crate::host::Host;
use crate::plan;
use crate::request::CreateOptions;
use crate::state::{
    ContainerId, ExecDefaults, HookRecord, MovedNetDevice, Record, temporary_pid_file,
};

/// The record of a container that does not exist yet. Errors: InvalidConfig when the pid file's path has no file name.
pub fn intent(
    id: &ContainerId,
    host: &Host,
    bundle: &Bundle,
    config: &Config,
    cgroup_plan: &CgroupPlan,
    options: &CreateOptions,
) -> Result<Record, Error> {
    let mut record = Record::intent(id, host)?;
    record.oci_version.clone_from(&config.oci_version);
    record.bundle = bundle.path().to_path_buf();
    record.rootfs.clone_from(&config.root.path);
    record.annotations.clone_from(&config.annotations);
    record.set_cgroups(cgroup_plan);
    record.resources.clone_from(&config.cgroup.resources);
    record.private_pid_namespace = config.namespaces.pid == Namespace::New;
    record.namespaces = plan::listed_namespaces(&config.namespaces);
    record.keyring = !options.no_new_keyring;
    record.poststart = config
        .hooks
        .poststart
        .iter()
        .map(HookRecord::from)
        .collect();
    record.poststop = config.hooks.poststop.iter().map(HookRecord::from).collect();
    record.pid_file_temporary = match &options.pid_file {
        Some(path) => Some(std::path::absolute(temporary_pid_file(path)?).unwrap_or_default()),
        None => None,
    };
    record.notify = options.notify_socket.is_some();
    let devices = config.net_devices.iter();
    record.net_devices = devices
        .map(|device| MovedNetDevice {
            host: device.host.clone(),
            container: device.container.clone(),
        })
        .collect();
    record.exec = ExecDefaults::of(&config.process);
    Ok(record)
}

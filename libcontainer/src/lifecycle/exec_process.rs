//! What exec executes: a process document, or the container's own process with the changes of flags; and what it takes over from the
//! container where it says nothing.

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::config::{
    Capabilities, ContainerPath, ExecCpuAffinity, Process, Rlimit, Scheduler, User,
};
use crate::error::{Error, ErrorKind};
use crate::host::Host;
use crate::request::{ExecFlags, ExecProcess};
use crate::state::{ExecDefaults, Record};

/// The process to execute, validated like any other.
pub fn process(
    record: &Record,
    host: &Host,
    process: &ExecProcess,
) -> Result<(Process, Vec<String>), Error> {
    let parse = |document: &[u8]| -> Result<_, Error> {
        Ok(Process::parse(document, &host.facts_for(document)?)?)
    };
    match process {
        ExecProcess::Document(bytes) => parse(bytes),
        ExecProcess::Flags(flags) => {
            let bundle = Bundle::open(&record.bundle)?.read()?;
            let config: Value = serde_json::from_slice(&bundle).map_err(|error| {
                Error::new(
                    ErrorKind::InvalidConfig,
                    format!("config.json#: not valid JSON: {error}"),
                )
            })?;
            let mut document = config.get("process").cloned().unwrap_or_else(|| json!({}));
            apply(flags, &mut document);
            parse(document.to_string().as_bytes())
        }
    }
}

/// Writes the flags into the container's own `process`, so that one validation serves both forms of exec.
fn apply(flags: &ExecFlags, process: &mut Value) {
    process["args"] = json!(flags.args);
    process["terminal"] = json!(flags.terminal);
    if let Some(cwd) = &flags.cwd {
        process["cwd"] = json!(cwd);
    }
    append(process, "env", &flags.env);
    if let Some((uid, gid)) = flags.user {
        process["user"]["uid"] = json!(uid);
        if let Some(gid) = gid {
            process["user"]["gid"] = json!(gid);
        }
    }
    append(
        &mut process["user"],
        "additionalGids",
        &flags.additional_gids,
    );
    if flags.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    if let Some(profile) = &flags.apparmor {
        process["apparmorProfile"] = json!(profile);
    }
    if let Some(label) = &flags.process_label {
        process["selinuxLabel"] = json!(label);
    }
    if flags.capabilities.is_empty() {
        return;
    }
    let sets = &mut process["capabilities"];
    // Never the inheritable set (CVE-2022-29162); the ambient one only where the container lists inheritable ones.
    let inheritable = sets["inheritable"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    for set in ["bounding", "effective", "permitted"] {
        append(sets, set, &flags.capabilities);
    }
    if inheritable {
        append(sets, "ambient", &flags.capabilities);
    }
}

fn append<T: serde::Serialize>(object: &mut Value, key: &str, values: &[T]) {
    if values.is_empty() {
        return;
    }
    let mut list = object[key].as_array().cloned().unwrap_or_default();
    list.extend(values.iter().map(|value| json!(value)));
    object[key] = Value::Array(list);
}

/// The container's own process as far as exec takes over from it.
pub fn container_process(record: &Record) -> Process {
    let ExecDefaults {
        capabilities,
        rlimits,
        apparmor_profile,
        selinux_label,
        oom_score_adj,
        umask,
        scheduler,
        io_priority,
        cpu_affinity_initial,
        cpu_affinity_final,
    } = record.exec.clone();
    let text = |text: Option<String>| text.and_then(|text| std::ffi::CString::new(text).ok());
    Process {
        args: Vec::new(),
        env: Vec::new(),
        cwd: ContainerPath::root(),
        terminal: false,
        console_size: None,
        user: User {
            umask,
            ..User::default()
        },
        capabilities: capabilities.map(|[bounding, effective, inheritable, permitted, ambient]| {
            Capabilities {
                bounding,
                effective,
                inheritable,
                permitted,
                ambient,
            }
        }),
        rlimits: rlimits
            .into_iter()
            .map(|(resource, soft, hard)| Rlimit {
                resource,
                name: "RLIMIT",
                soft,
                hard,
            })
            .collect(),
        no_new_privileges: false,
        oom_score_adj,
        apparmor_profile: text(apparmor_profile),
        selinux_label: text(selinux_label),
        scheduler: scheduler.map(
            |(policy, flags, nice, priority, runtime, deadline, period)| Scheduler {
                policy,
                flags,
                nice,
                priority,
                runtime,
                deadline,
                period,
            },
        ),
        io_priority,
        exec_cpu_affinity: (cpu_affinity_initial.is_some() || cpu_affinity_final.is_some())
            .then_some(ExecCpuAffinity {
                initial: cpu_affinity_initial,
                last: cpu_affinity_final,
            }),
    }
}

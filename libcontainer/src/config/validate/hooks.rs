//! The rules of hooks.

use super::process::env_entry;
use super::text;
use crate::config::errors::{Findings, Place, quoted};
use crate::config::{Hook, Hooks, raw};

pub(super) fn hooks(raw: Option<&raw::Hooks<'_>>, at: &Place<'_>, found: &mut Findings) -> Hooks {
    let Some(raw) = raw else {
        return Hooks::default();
    };
    let mut kind = |name, hooks: &Option<raw::List<raw::Hook<'_>>>| {
        let at = at.key(name);
        let hooks = hooks.as_deref().unwrap_or_default();
        hooks
            .iter()
            .enumerate()
            .filter_map(|(index, raw)| hook(raw, &at.index(index), found))
            .collect()
    };
    Hooks {
        prestart: kind("prestart", &raw.prestart),
        create_runtime: kind("createRuntime", &raw.create_runtime),
        create_container: kind("createContainer", &raw.create_container),
        start_container: kind("startContainer", &raw.start_container),
        poststart: kind("poststart", &raw.poststart),
        poststop: kind("poststop", &raw.poststop),
    }
}

fn hook(raw: &raw::Hook<'_>, at: &Place<'_>, found: &mut Findings) -> Option<Hook> {
    let path = raw.path.as_deref().unwrap_or_default();
    if !path.starts_with('/') {
        found.error(
            &at.key("path"),
            format!("a hook's path must be absolute, not {}", quoted(path)),
        );
    }
    let timeout_s = raw.timeout.and_then(|timeout| {
        let seconds = u32::try_from(timeout).ok().filter(|seconds| *seconds > 0);
        found.check(
            &at.key("timeout"),
            seconds.ok_or_else(|| {
                format!("a timeout of {timeout} seconds is not above 0 and below 2^32")
            }),
        )
    });
    let path = text(path, &at.key("path"), found)?;
    let args_at = at.key("args");
    let args = raw.args.as_deref().unwrap_or_default();
    let mut args: Vec<_> = args
        .iter()
        .enumerate()
        .filter_map(|(index, arg)| text(arg, &args_at.index(index), found))
        .collect();
    if args.is_empty() {
        args.push(path.clone());
    }
    let env_at = at.key("env");
    let env = raw.env.as_ref().map(|env| {
        let entries = env.iter().enumerate().filter_map(|(index, entry)| {
            let at = env_at.index(index);
            env_entry(entry, &at, found).and_then(|_| text(entry, &at, found))
        });
        entries.collect()
    });
    Some(Hook {
        path,
        args,
        env,
        timeout_s,
    })
}

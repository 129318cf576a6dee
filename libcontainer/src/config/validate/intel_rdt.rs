//! The rules of `linux.intelRdt` (config-linux.md "IntelRdt"): which class, and which lines its `schemata` gets.

use super::Input;
use crate::Pointer;
use crate::config::errors::{ConfigErrors, Findings, Place, quoted};
use crate::config::{IntelRdt, RdtClass, SchemaLine};

pub(super) fn intel_rdt(input: Input<'_>, found: &mut Findings) -> Option<IntelRdt> {
    let raw = input.linux.intel_rdt.as_ref()?;
    let at = input.linux_at.key("intelRdt");
    let class = class(
        raw.clos_id.as_deref().unwrap_or_default(),
        &at.key("closID"),
        found,
    );
    let (cache, bandwidth) = (
        raw.l3_cache_schema.as_deref().unwrap_or_default(),
        raw.mem_bw_schema.as_deref().unwrap_or_default(),
    );
    let mut schemata = two_schemas(
        (cache, &at.key("l3CacheSchema")),
        (bandwidth, &at.key("memBwSchema")),
        found,
    );
    let whole = raw.schemata.as_deref().unwrap_or_default();
    let list_at = at.key("schemata");
    let whole: Vec<_> = whole
        .iter()
        .enumerate()
        .filter_map(|(index, text)| line(text, &list_at.index(index), found))
        .collect();
    // The newer key counts; the kernel takes no resource twice.
    schemata.retain(|line| whole.iter().all(|other| other.resource != line.resource));
    schemata.extend(whole);
    Some(IntelRdt {
        class: class?,
        schemata,
        monitoring: raw.enable_monitoring.unwrap_or_default(),
    })
}

/// The lines that two flags of `update` ask for.
pub(in crate::config) fn flags(
    cache: Option<&str>,
    bandwidth: Option<&str>,
) -> Result<Vec<SchemaLine>, ConfigErrors> {
    static CACHE: Pointer = Pointer::fixed("--l3-cache-schema");
    static BANDWIDTH: Pointer = Pointer::fixed("--mem-bw-schema");
    let mut found = Findings::default();
    let (cache_at, bandwidth_at) = (Place::document(&CACHE), Place::document(&BANDWIDTH));
    let lines = two_schemas(
        (cache.unwrap_or_default(), &cache_at),
        (bandwidth.unwrap_or_default(), &bandwidth_at),
        &mut found,
    );
    found
        .into_result(Some(lines), &cache_at)
        .map(|(lines, _)| lines)
}

/// The name of one directory, or `/` for the class that everybody is in.
fn class(name: &str, at: &Place<'_>, found: &mut Findings) -> Option<RdtClass> {
    match name {
        "" => return Some(RdtClass::Own),
        "/" => return Some(RdtClass::Default),
        "." | ".." | "info" | "mon_groups" | "mon_data" => {}
        name if !name.contains(['/', '\n', '\0']) => return Some(RdtClass::Named(name.to_owned())),
        _ => {}
    }
    found.error(
        at,
        format!(
            "invalid closID {}: not the name of a resctrl group",
            quoted(name)
        ),
    );
    None
}

/// The lines of the two older keys: the one for bandwidth comes from its own key alone.
fn two_schemas(
    (cache, cache_at): (&str, &Place<'_>),
    (bandwidth, bandwidth_at): (&str, &Place<'_>),
    found: &mut Findings,
) -> Vec<SchemaLine> {
    let mut lines = Vec::new();
    for text in cache.lines().filter(|text| !text.trim().is_empty()) {
        match line(text, cache_at, found) {
            Some(line) if line.resource == "MB" => {
                found.warn("l3CacheSchema: a line for MB has no effect there, only in memBwSchema");
            }
            line => lines.extend(line),
        }
    }
    if bandwidth.is_empty() {
        return lines;
    }
    match line(bandwidth, bandwidth_at, found) {
        Some(line) if line.resource == "MB" => lines.push(line),
        Some(_) => found.error(
            bandwidth_at,
            format!("{} does not begin with \"MB:\"", quoted(bandwidth)),
        ),
        None => {}
    }
    lines
}

/// One line of `schemata`. What stands behind the colon is the kernel's to judge.
fn line(text: &str, at: &Place<'_>, found: &mut Findings) -> Option<SchemaLine> {
    let resource = text
        .split_once(':')
        .map_or("", |(resource, _)| resource.trim());
    let named = !resource.is_empty()
        && resource
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !named || text.contains(['\n', '\0']) {
        found.error(
            at,
            format!(
                "{} is not one line of the form \"L3:0=ff;1=c0\"",
                quoted(text)
            ),
        );
        return None;
    }
    Some(SchemaLine {
        resource: resource.to_owned(),
        text: text.to_owned(),
        at: at.pointer(),
    })
}

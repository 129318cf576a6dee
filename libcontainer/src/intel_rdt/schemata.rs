//! Whether a group that exists has the schemata that a configuration asks for.
//!
//! What is read back is not what was written: leading zeros go, spaces come, domains are sorted, percentages of bandwidth are rounded up to
//! a step. So lines are compared domain by domain, and only those domains that the configuration names.

use crate::config::{ConfigErrors, SchemaLine};
use crate::error::Error;

use super::Resctrl;

/// Errors: InvalidConfig with the pointer of the first line that the group does not have.
pub(super) fn check_existing(
    resctrl: &Resctrl,
    group: &str,
    asked: &[SchemaLine],
) -> Result<(), Error> {
    if asked.is_empty() {
        return Ok(());
    }
    let path = match group {
        "" => "schemata".to_owned(),
        group => format!("{group}/schemata"),
    };
    let existing = resctrl
        .read(&path)
        .map_err(|errno| resctrl.refused("read", &path, errno))?;
    for line in asked {
        let step = resctrl
            .read(&format!("info/{}/bandwidth_gran", line.resource))
            .ok()
            .and_then(|step| step.parse().ok());
        if !has(&existing, &line.text, step) {
            let text = format!(
                "{:?} is not what the group {} has: {} (hint: closID shares a group, and nobody's schemata are changed by it)",
                line.text,
                resctrl.path.join(group).display(),
                existing.replace('\n', ", ")
            );
            return Err(ConfigErrors::one(line.at.clone(), text).into());
        }
    }
    Ok(())
}

/// What the group has now for the resources of `lines`, to be written again when they cannot stay.
pub(super) fn current(
    resctrl: &Resctrl,
    group: &str,
    lines: &[SchemaLine],
) -> Result<Vec<SchemaLine>, Error> {
    let path = match group {
        "" => "schemata".to_owned(),
        group => format!("{group}/schemata"),
    };
    let existing = resctrl
        .read(&path)
        .map_err(|errno| resctrl.refused("read", &path, errno))?;
    let now = |line: &SchemaLine| {
        let mut all = existing.lines().map(str::trim);
        let text = all.find(|text| text.split(':').next() == Some(&line.resource))?;
        Some(SchemaLine {
            text: text.to_owned(),
            ..line.clone()
        })
    };
    Ok(lines.iter().filter_map(now).collect())
}

/// Whether `existing` has every domain of `line` with its value. `step`: what values of this resource are rounded up to.
pub(super) fn has(existing: &str, line: &str, step: Option<u64>) -> bool {
    let Some((resource, domains)) = line.split_once(':') else {
        return false;
    };
    let theirs = existing.lines().find_map(|line| {
        let (name, domains) = line.split_once(':')?;
        (name.trim() == resource.trim()).then_some(domains)
    });
    let Some(theirs) = theirs else { return false };
    let same =
        |one: &str, other: &str| plain(one) == plain(other) || rounded(one, step) == plain(other);
    pairs(domains).all(|(domain, value)| {
        pairs(theirs).any(|(id, kept)| plain(id) == plain(domain) && same(value, kept))
    })
}

fn pairs(domains: &str) -> impl Iterator<Item = (&str, &str)> {
    domains
        .split(';')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(domain, value)| (domain.trim(), value.trim()))
}

/// Bit masks are hexadecimal, bandwidths decimal; either without leading zeros.
fn plain(value: &str) -> String {
    let value = value.trim_start_matches('0').to_ascii_lowercase();
    if value.is_empty() {
        "0".to_owned()
    } else {
        value
    }
}

fn rounded(value: &str, step: Option<u64>) -> String {
    let up = step
        .filter(|&step| step > 0)
        .and_then(|step| value.parse::<u64>().ok()?.checked_next_multiple_of(step));
    up.map_or_else(|| plain(value), |up| up.to_string())
}

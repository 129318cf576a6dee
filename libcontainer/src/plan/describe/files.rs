//! Devices, links, the terminal, and hooks that run inside.

use stage::step::{Step, hook_point};

use super::inside;
use crate::plan::flags;
use crate::plan::form::{Owned, Text, Texts};

pub(super) fn filling(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Device {
            path,
            mode,
            major,
            minor,
            uid,
            gid,
        } => {
            format!(
                "make {} {} {:04o} {uid}:{gid}",
                inside(path),
                device(*mode, *major, *minor),
                mode & 0o7777
            )
        }
        Step::BindDevice { source, path } => {
            format!("bind the host's {} on {}", source.show(), inside(path))
        }
        Step::Symlink {
            content,
            path,
            replace,
        } => {
            let end = if *replace {
                ", in place of what is there"
            } else {
                " unless it is there"
            };
            format!("link {} to {}{end}", inside(path), content.show())
        }
        Step::ReopenNull {} => {
            "replace the host's /dev/null on stdio by the container's".to_owned()
        }
        Step::MakeCwd { path } => format!("make the directory {} if it is missing", inside(path)),
        _ => return None,
    })
}

pub(super) fn running(step: &Step<Owned>) -> Option<String> {
    Some(match step {
        Step::Console {
            rows,
            columns,
            bind_console,
        } => {
            let mut text = "open a terminal of the container's devpts; its master goes to the parent, its slave to stdio".to_owned();
            if *bind_console {
                text.push_str(" and /dev/console");
            }
            if (*rows, *columns) != (0, 0) {
                text.push_str(&format!("; {rows} rows, {columns} columns"));
            }
            text
        }
        Step::Hook {
            point,
            index,
            path,
            args,
            timeout_s,
            ..
        } => {
            let mut text = format!(
                "run {} hook #{index}: {}",
                point_name(*point),
                command(path, args)
            );
            if *timeout_s > 0 {
                text.push_str(&format!(", for at most {timeout_s} s"));
            }
            text
        }
        _ => return None,
    })
}

/// `c 1:3`.
pub(in crate::plan) fn device(mode: u32, major: u32, minor: u32) -> String {
    let kind = match mode & flags::S_IFMT {
        flags::S_IFCHR => "c",
        flags::S_IFIFO => return "p".to_owned(),
        _ => "b",
    };
    format!("{kind} {major}:{minor}")
}

pub(in crate::plan) fn point_name(point: u8) -> &'static str {
    match point {
        hook_point::CREATE_CONTAINER => "createContainer",
        _ => "startContainer",
    }
}

fn command(path: &Text, args: &Texts) -> String {
    let rest = args
        .0
        .iter()
        .skip(1)
        .map(|arg| format!(" {:?}", arg.to_string_lossy()));
    format!("{}{}", path.show(), rest.collect::<String>())
}

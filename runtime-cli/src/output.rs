//! What the commands print: the OCI state, the list of containers, the processes. Shapes and spacing are runc's.

use libcontainer::State;

use crate::failure::{FAILED, Failure};
use crate::json::Object;

/// Writes to standard output, in one system call if it can be: std's buffer would split the text at its newlines.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(rustix::stdio::stdout(), rest) {
            Ok(count) => rest = &rest[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => {
                return Err(Failure::from(errno).within("write to standard output", FAILED));
            }
        }
    }
    Ok(())
}

/// A container in a list.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its state.
    pub state: &'a State,
    /// Name of the user it belongs to.
    pub owner: &'a str,
}

/// `state`: indented, without a newline at the end.
pub fn state(state: &State) -> String {
    let mut out = String::with_capacity(512);
    object(&mut out, state, "", Some(0));
    out
}

/// `list -f json`: one line; `null` without containers, as Go prints a nil slice.
pub fn array(rows: &[Row<'_>]) -> String {
    if rows.is_empty() {
        return "null\n".to_owned();
    }
    let mut out = String::from("[");
    for (index, row) in rows.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        object(&mut out, row.state, row.owner, None);
    }
    out.push_str("]\n");
    out
}

fn object(out: &mut String, state: &State, owner: &str, indent: Option<usize>) {
    let mut object = Object::open(out, indent);
    object.string("ociVersion", &state.oci_version);
    object.string("id", &state.id);
    object.number("pid", state.pid);
    object.string("status", &state.status.to_string());
    object.string("bundle", &state.bundle.to_string_lossy());
    object.string("rootfs", &state.rootfs.to_string_lossy());
    object.string("created", &state.created);
    if !state.annotations.is_empty() {
        object.strings(
            "annotations",
            state
                .annotations
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str())),
        );
    }
    object.string("owner", owner);
    object.close();
}

/// `list -q`: one id a line.
pub fn ids(rows: &[Row<'_>]) -> String {
    rows.iter()
        .map(|row| format!("{}\n", row.state.id))
        .collect()
}

/// `list`: aligned columns.
pub fn table(rows: &[Row<'_>]) -> String {
    let header = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut cells = vec![header];
    cells.extend(rows.iter().map(|row| {
        let state = row.state;
        [
            state.id.clone(),
            state.pid.to_string(),
            state.status.to_string(),
            state.bundle.to_string_lossy().into_owned(),
            state.created.clone(),
            row.owner.to_owned(),
        ]
    }));
    tabulated(&cells)
}

/// Go's tabwriter with a minimal cell width of 12 and 3 spaces of padding. The last cell of a line is not padded.
fn tabulated<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count() + 3).max(12);
        }
    }
    let mut out = String::new();
    for row in rows {
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            out.push_str(cell);
            if index + 1 < COLUMNS {
                out.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
        }
        out.push('\n');
    }
    out
}

/// `ps -f json`: `null` where there is no cgroup any more.
pub fn pids(pids: Option<&[i32]>) -> String {
    match pids {
        None | Some([]) => "null\n".to_owned(),
        Some(pids) => format!(
            "[{}]\n",
            pids.iter()
                .map(i32::to_string)
                .collect::<Vec<_>>()
                .join(",")
        ),
    }
}

/// `ps`: the header of the host's table and the lines whose PID column is one of `pids`.
pub fn ps_table(host: &str, pids: &[i32]) -> Result<String, String> {
    let header = host.lines().next().unwrap_or_default();
    let column = header.split_whitespace().position(|title| title == "PID");
    let column = column.ok_or_else(|| "couldn't find PID field in ps output".to_owned())?;
    let mut out = format!("{header}\n");
    for line in host.lines().skip(1) {
        let pid = line
            .split_whitespace()
            .nth(column)
            .and_then(|cell| cell.parse::<i32>().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            out.push_str(line);
            out.push('\n');
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use libcontainer::Status;

    use super::*;

    fn example(id: &str, status: Status) -> State {
        State {
            oci_version: "1.3.0".into(),
            id: id.into(),
            pid: 42,
            status,
            bundle: "/b/<x>".into(),
            rootfs: "/b/rootfs".into(),
            created: "1970-01-01T00:00:01.5Z".into(),
            annotations: [("k".to_owned(), "v&w".to_owned())].into(),
            owner_uid: 0,
        }
    }

    #[test]
    fn the_state_is_indented_and_has_no_newline_at_the_end() {
        let expected = "{\n  \"ociVersion\": \"1.3.0\",\n  \"id\": \"c1\",\n  \"pid\": 42,\n  \"status\": \"running\",\n  \"bundle\": \"/b/\\u003cx\\u003e\",\n  \
            \"rootfs\": \"/b/rootfs\",\n  \"created\": \"1970-01-01T00:00:01.5Z\",\n  \"annotations\": {\n    \"k\": \"v\\u0026w\"\n  },\n  \"owner\": \"\"\n}";
        assert_eq!(state(&example("c1", Status::Running)), expected);
        let mut stopped = example("c1", Status::Stopped);
        stopped.annotations.clear();
        stopped.pid = 0;
        let text = state(&stopped);
        assert!(
            text.contains("\"pid\": 0,")
                && text.contains("\"stopped\"")
                && !text.contains("annotations"),
            "{text}"
        );
    }

    #[test]
    fn lists_in_their_three_shapes() {
        let (first, second) = (
            example("c1", Status::Created),
            example("a-much-longer-id", Status::Paused),
        );
        let rows = [
            Row {
                state: &first,
                owner: "root",
            },
            Row {
                state: &second,
                owner: "#70",
            },
        ];
        assert_eq!(ids(&rows), "c1\na-much-longer-id\n");
        let lines: Vec<String> = table(&rows).lines().map(str::to_owned).collect();
        assert_eq!(
            lines[0],
            "ID                 PID         STATUS      BUNDLE      CREATED                  OWNER"
        );
        assert_eq!(
            lines[1],
            "c1                 42          created     /b/<x>      1970-01-01T00:00:01.5Z   root"
        );
        assert_eq!(
            lines[2],
            "a-much-longer-id   42          paused      /b/<x>      1970-01-01T00:00:01.5Z   #70"
        );
        assert_eq!(array(&[]), "null\n");
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let json = array(&rows);
        assert!(
            json.starts_with(
                "[{\"ociVersion\":\"1.3.0\",\"id\":\"c1\",\"pid\":42,\"status\":\"created\","
            ),
            "{json}"
        );
        assert!(
            json.ends_with("\"owner\":\"#70\"}]\n") && json.lines().count() == 1,
            "{json}"
        );
    }

    #[test]
    fn processes_as_json_and_as_rows_of_the_hosts_table() {
        assert_eq!(pids(Some(&[1, 20])), "[1,20]\n");
        assert_eq!(pids(Some(&[])), "null\n");
        assert_eq!(pids(None), "null\n");
        let host = "UID          PID    PPID CMD\nroot           1       0 init 20\nroot          20       1 sh -c 1\nroot         201       1 x\n";
        assert_eq!(
            ps_table(host, &[20]),
            Ok("UID          PID    PPID CMD\nroot          20       1 sh -c 1\n".to_owned())
        );
        assert!(ps_table("A B\n1 2\n", &[1]).is_err());
    }
}

//! Addresses of a bus: `unix:path=/run/dbus/system_bus_socket,guid=…;…` (dbus-specification.html "Server Addresses").

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// A socket to connect to.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Address {
    Path(PathBuf),
    /// A name in the abstract namespace, without its leading NUL.
    Abstract(String),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Path(path) => write!(f, "unix:path={}", path.display()),
            Address::Abstract(name) => write!(f, "unix:abstract={name}"),
        }
    }
}

/// The sockets that `text` names, in its order. Transports other than sockets of this machine are passed over: systemd is never behind one.
pub fn parse(text: &str) -> Vec<Address> {
    text.split(';').filter_map(parse_one).collect()
}

fn parse_one(text: &str) -> Option<Address> {
    text.strip_prefix("unix:")?.split(',').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = unescape(value)?;
        match key {
            "path" if value.first() == Some(&b'/') => {
                Some(Address::Path(PathBuf::from(OsString::from_vec(value))))
            }
            "abstract" if !value.is_empty() => String::from_utf8(value).ok().map(Address::Abstract),
            _ => None,
        }
    })
}

/// Undoes `%2f`. `None` for what no valid address holds.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2)?;
        let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = &tail[2..];
    }
    (!bytes.contains(&0)).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_found_in_an_address() {
        let path = |text: &str| Address::Path(PathBuf::from(text));
        let table = [
            (
                "unix:path=/run/user/1000/bus",
                vec![path("/run/user/1000/bus")],
            ),
            ("unix:path=/a%20b,guid=00", vec![path("/a b")]),
            ("unix:guid=00,path=/a", vec![path("/a")]),
            (
                "tcp:host=h,port=1;unix:abstract=/tmp/x;unix:path=/b",
                vec![Address::Abstract("/tmp/x".to_owned()), path("/b")],
            ),
            ("", vec![]),
            ("unix:", vec![]),
            ("unix:path=", vec![]),
            ("unix:path=relative", vec![]),
            ("unix:path=/a%0", vec![]),
            ("unix:path=/a%zz", vec![]),
            ("unix:path=/a%00b", vec![]),
            ("unix:tmpdir=/tmp", vec![]),
            ("unixexec:path=/bin/x", vec![]),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}

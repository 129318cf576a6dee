//! What the paths of a request mean (containerd, docs on logging URIs and `cio`): nothing, a fifo, `file://` or `binary://`. Pure.
//!
//! A path without a scheme is taken as it is: only URIs are percent-decoded.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::error::{Error, Field};

/// Where a stream comes from or goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The empty text: `/dev/null`.
    Null,
    /// A fifo that the client made, or anything else that is there and can be opened.
    Path(PathBuf),
    /// A log file: made with its directories if it is missing, appended to.
    File(PathBuf),
    /// A program that reads the output.
    Binary(Binary),
}

/// The program of a `binary://` URI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    pub program: PathBuf,
    /// Keys and values of the query, in its order; of a key that comes twice, the first.
    pub arguments: Vec<OsString>,
    /// `env.NAME=value` in the query.
    pub environment: Vec<(OsString, OsString)>,
    /// `binary-v2`: an end without a byte is a failure.
    pub says_ready: bool,
}

/// Reads one field. Errors: an unknown scheme, a URI without an absolute path, a percent sign without two hexadecimal digits.
pub fn parse(field: Field, value: &str) -> Result<Target, Error> {
    let wrong = |why| Error::Uri {
        field,
        value: value.to_owned(),
        why,
    };
    if value.is_empty() {
        return Ok(Target::Null);
    }
    let Some((scheme, rest)) = scheme(value) else {
        return Ok(Target::Path(PathBuf::from(value)));
    };
    let known = ["fifo", "file", "binary", "binary-v2"];
    let Some(scheme) = known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(scheme))
    else {
        return Err(wrong(
            "unknown scheme: a path, file://, binary:// or binary-v2:// is wanted",
        ));
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // `//host/path`: like containerd, the host is not looked at.
    let path = match path.strip_prefix("//") {
        Some(after) => &after[after.find('/').unwrap_or(after.len())..],
        None => path,
    };
    if !path.starts_with('/') {
        return Err(wrong("an absolute path is wanted behind the scheme"));
    }
    let escape = "a percent sign wants two hexadecimal digits behind it";
    let path = PathBuf::from(decode(path, Plus::Itself).ok_or_else(|| wrong(escape))?);
    Ok(match scheme {
        "fifo" => Target::Path(path),
        "file" => Target::File(path),
        _ => {
            Target::Binary(binary(path, query, scheme == "binary-v2").ok_or_else(|| wrong(escape))?)
        }
    })
}

/// `scheme:rest` (RFC 3986, 3.1).
fn scheme(value: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = value.split_once(':')?;
    let mut letters = scheme.bytes();
    (letters.next()?.is_ascii_alphabetic()
        && letters.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)))
    .then_some((scheme, rest))
}

/// `k=v&k2=v2` as arguments, `env.K=v` as environment. None: a wrong escape.
fn binary(program: PathBuf, query: &str, says_ready: bool) -> Option<Binary> {
    let mut seen = Vec::new();
    let mut binary = Binary {
        program,
        arguments: Vec::new(),
        environment: Vec::new(),
        says_ready,
    };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (key, value) = (decode(key, Plus::Space)?, decode(value, Plus::Space)?);
        if seen.contains(&key) {
            continue;
        }
        seen.push(key.clone());
        match key.as_encoded_bytes().strip_prefix(b"env.") {
            // These two are not the client's to choose.
            Some(b"CONTAINER_ID" | b"CONTAINER_NAMESPACE" | b"") => {}
            Some(name) => binary
                .environment
                .push((OsString::from_vec(name.to_vec()), value)),
            None => binary.arguments.extend([key, value]),
        }
    }
    Some(binary)
}

/// What a plus sign stands for: itself in a path, a space in a query.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plus {
    Itself,
    Space,
}

fn decode(text: &str, plus: Plus) -> Option<OsString> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                (high << 4 | low) as u8
            }
            b'+' if plus == Plus::Space => b' ',
            byte => byte,
        });
    }
    Some(OsString::from_vec(decoded))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Target {
        parse(Field::Stdout, value).expect(value)
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        assert_eq!(read(""), Target::Null);
        for path in ["/run/fifo/1-stdout", "/a b%zz?x#y", "relative", "/a:b"] {
            assert_eq!(read(path), Target::Path(path.into()));
        }
    }

    #[test]
    fn uris_are_decoded() {
        for (uri, path) in [
            ("file:///var/log/a%20b+c.log", "/var/log/a b+c.log"),
            ("file:/x", "/x"),
            ("FILE://host/x?y=1#z", "/x"),
        ] {
            assert_eq!(read(uri), Target::File(path.into()), "{uri}");
        }
        assert_eq!(read("fifo:///x"), Target::Path("/x".into()));
    }

    #[test]
    fn a_query_becomes_arguments_and_environment() {
        let Target::Binary(binary) = read(
            "binary:///bin/log%2fger?id=a%26b&-q&id=second&t=x+y&env.PATH=/bin&env.CONTAINER_ID=no",
        ) else {
            panic!("a program")
        };
        assert_eq!(binary.program, PathBuf::from("/bin/log/ger"));
        assert_eq!(binary.arguments, ["id", "a&b", "-q", "", "t", "x y"]);
        assert_eq!(binary.environment, [("PATH".into(), "/bin".into())]);
        assert!(!binary.says_ready);
        assert!(matches!(read("binary-v2:///l"), Target::Binary(binary) if binary.says_ready));
    }

    #[test]
    fn what_is_wrong_names_the_field_and_its_value() {
        for (value, said) in [
            (
                "npipe:////./pipe/x",
                "stdout: \"npipe:////./pipe/x\": unknown scheme: a path, file://, binary:// or binary-v2:// is wanted",
            ),
            (
                "file://only-a-host",
                "stdout: \"file://only-a-host\": an absolute path is wanted behind the scheme",
            ),
            (
                "file:///x%2",
                "stdout: \"file:///x%2\": a percent sign wants two hexadecimal digits behind it",
            ),
            (
                "binary:///x?a=%zz",
                "stdout: \"binary:///x?a=%zz\": a percent sign wants two hexadecimal digits behind it",
            ),
        ] {
            let error = parse(Field::Stdout, value).expect_err(value);
            assert_eq!(error.to_string(), said);
        }
    }
}

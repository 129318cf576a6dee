//! Option text for the kernel, which takes less than a page of it: an image of some sixty layers has an overlay option that is longer.
//!
//! Such an option is shortened as containerd does it: the lower directories have a directory in common, and are given relative to it.
//! For that the mounting thread stands in that directory; it is a thread of its own, with a working directory of its own.

use std::path::Path;

use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::Error;

/// mount(2) copies a page, of which the last byte must be a NUL.
const PAGE: usize = 4096;
const LOWER: &str = "lowerdir=";

/// The text, and where the mounting thread has to stand for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    pub data: String,
    /// None: anywhere.
    pub directory: Option<String>,
}

impl Options {
    pub fn of(kind: &str, words: Vec<&str>) -> Result<Options, Error> {
        let text = words.join(",");
        if text.len() < PAGE {
            return Ok(Options {
                data: text,
                directory: None,
            });
        }
        let short = match kind {
            "overlay" => shorten(&words),
            _ => None,
        };
        short
            .filter(|options| options.data.len() < PAGE)
            .ok_or_else(|| Error::TooLong {
                kind: kind.to_owned(),
            })
    }
}

/// With lower directories relative to the one that holds them all; None where that does not work.
fn shorten(words: &[&str]) -> Option<Options> {
    let lower = words.iter().find_map(|word| word.strip_prefix(LOWER))?;
    let paths: Vec<&str> = lower.split(':').collect();
    let first = *paths.first()?;
    let end = paths.iter().fold(first.len(), |end, path| {
        let same = first.bytes().zip(path.bytes());
        same.take_while(|(a, b)| a == b).count().min(end)
    });
    // Up to and with a slash: /snapshots/1 and /snapshots/12 have no directory /snapshots/1 in common.
    let end = first.get(..end)?.rfind('/')? + 1;
    let directory = first.get(..end)?;
    let relative: Option<Vec<&str>> = paths
        .iter()
        .map(|path| path.get(end..).filter(|rest| !rest.is_empty()))
        .collect();
    let relative = format!("{LOWER}{}", relative?.join(":"));
    let words: Vec<&str> = words
        .iter()
        .map(|word| match word.starts_with(LOWER) {
            true => relative.as_str(),
            false => word,
        })
        .collect();
    Some(Options {
        data: words.join(","),
        directory: Some(directory.to_owned()),
    })
}

/// Runs `call` on a thread that stands in `directory`. The directory of the process and of its other threads stays what it is.
pub fn in_directory(
    directory: &str,
    call: impl FnOnce() -> Result<(), Errno> + Send,
) -> Result<Result<(), Errno>, Error> {
    let stand_and_call = || {
        // Deprecated for CLONE_FILES, with which threads mistake each other's fds; CLONE_FS has nothing to do with them.
        #[allow(deprecated)]
        rustix::thread::unshare(UnshareFlags::FS)?;
        rustix::process::chdir(Path::new(directory))?;
        call()
    };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn_scoped(scope, stand_and_call)
            .map_err(Error::Thread)?;
        // Nothing in there panics, but if it did nothing would be mounted.
        Ok(thread.join().unwrap_or(Err(Errno::CANCELED)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lower(paths: impl Iterator<Item = String>) -> String {
        format!("{LOWER}{}", paths.collect::<Vec<_>>().join(":"))
    }

    #[test]
    fn short_text_stays() {
        let options = Options::of("overlay", vec!["index=off", "lowerdir=/a/1:/a/2"]);
        let options = options.expect("short");
        assert_eq!(options.data, "index=off,lowerdir=/a/1:/a/2");
        assert_eq!(options.directory, None);
    }

    #[test]
    fn long_lower_directories_become_relative() {
        let dir = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots";
        let long = lower((10..138).map(|n| format!("{dir}/1{n}/fs")));
        let options = Options::of("overlay", vec![&long, "workdir=/w"]).expect("short");
        assert_eq!(options.directory, Some(format!("{dir}/")));
        let short = lower((10..138).map(|n| format!("1{n}/fs")));
        assert_eq!(options.data, format!("{short},workdir=/w"));
    }

    #[test]
    fn the_directory_in_common_is_a_whole_one() {
        let options = shorten(&["lowerdir=/snapshots/1/fs:/snapshots/12/fs"]).expect("shorter");
        assert_eq!(options.directory.as_deref(), Some("/snapshots/"));
        assert_eq!(options.data, "lowerdir=1/fs:12/fs");
        assert_eq!(shorten(&["lowerdir=a:b"]), None);
        assert_eq!(shorten(&["lowerdir=/a/:/a/b"]), None);
        assert_eq!(shorten(&["upperdir=/a"]), None);
    }

    #[test]
    fn too_long_is_said() {
        let long = "x".repeat(PAGE);
        for kind in ["tmpfs", "overlay"] {
            let refused = Options::of(kind, vec![&long]);
            assert!(matches!(refused, Err(Error::TooLong { .. })));
        }
        assert!(Options::of("tmpfs", vec![&long[1..]]).is_ok());
    }
}

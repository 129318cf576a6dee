//! A filesystem that never answers: whoever looks something up in it sleeps where only SIGKILL reaches, and no freezer of cgroups does.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::case::Failure;

const FUSE_INIT: u32 = 26;
/// The size of `struct fuse_in_header`.
const HEADER: usize = 40;

/// A FUSE mount whose server has greeted the kernel, and is silent from then on. Whoever waits in it is let go when this is dropped.
#[derive(Debug)]
pub struct HungMount {
    point: PathBuf,
    // Its end ends every request.
    _server: File,
}

impl HungMount {
    /// Mounts it at `point`, which is made.
    pub fn new(point: &Path) -> Result<HungMount, Failure> {
        let mut server = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .map_err(|why| Failure::skip(format!("no FUSE here: {why}")))?;
        std::fs::create_dir_all(point)?;
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            server.as_raw_fd()
        );
        mount(
            Some("hung"),
            point,
            Some("fuse"),
            MsFlags::empty(),
            Some(options.as_str()),
        )?;
        greet(&mut server)?;
        Ok(HungMount {
            point: point.to_owned(),
            _server: server,
        })
    }

    /// A file that is for ever looked up.
    pub fn file(&self) -> PathBuf {
        self.point.join("x")
    }
}

/// Answers FUSE_INIT (linux/fuse.h, version 7.31): before that nobody's request is even sent.
fn greet(server: &mut File) -> Result<(), Failure> {
    let mut request = vec![0; 1 << 17];
    let length = server.read(&mut request)?;
    let word = |at: usize| {
        let bytes = request[..length].get(at..at + 4).unwrap_or(&[0; 4]);
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    if word(4) != FUSE_INIT {
        return Err(Failure::new(format!(
            "the kernel began with request {}",
            word(4)
        )));
    }
    let (unique, readahead) = (&request[8..16], word(HEADER + 8));
    // major, minor, max_readahead, flags, max_background and congestion_threshold, max_write, time_gran, and what is left at 0.
    let mut body: Vec<u8> = [7, 31, readahead, 0, 12 | 9 << 16, 1 << 16, 1]
        .iter()
        .flat_map(|word: &u32| word.to_le_bytes())
        .collect();
    body.resize(64, 0);
    let mut answer = Vec::new();
    answer.extend(u32::try_from(16 + body.len())?.to_le_bytes());
    answer.extend(0u32.to_le_bytes());
    answer.extend(unique);
    answer.extend(body);
    server.write_all(&answer)?;
    Ok(())
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // What is left would be found by the leak check.
        let _ = umount2(&self.point, MntFlags::MNT_DETACH);
    }
}

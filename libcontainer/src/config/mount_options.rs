//! The words of a mount's `options`: what each one sets, and what is left over as data for the file system.

use super::names::PROPAGATIONS;
use super::names::lookup;

const RDONLY: u64 = 0x1;
const NOSUID: u64 = 0x2;
const NODEV: u64 = 0x4;
const NOEXEC: u64 = 0x8;
/// The field of the three access-time kinds; whoever changes the kind must clear the whole field (mount_setattr(2)).
const ATIME: u64 = 0x70;
const RELATIME: u64 = 0;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// What one word does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Sets `MOUNT_ATTR_*` bits of the mount.
    Set(u64),
    /// Clears them.
    Clear(u64),
    /// Chooses how access times are kept.
    Atime(u64),
    /// Goes back to the kernel's default, relatime, if that kind was chosen.
    NotAtime(u64),
    /// The same four for the whole tree.
    RecursiveSet(u64),
    RecursiveClear(u64),
    RecursiveAtime(u64),
    /// A flag of the superblock, by its fsconfig(2) word.
    Flag(&'static str),
    NoFlag(&'static str),
    /// `ro` and `rw` are of the mount and of the superblock.
    ReadOnly,
    ReadWrite,
    Bind {
        recursive: bool,
    },
    Remount,
    CopyUp,
    Idmap {
        recursive: bool,
    },
    Defaults,
}

/// Every word but the propagations, which are in [`PROPAGATIONS`].
const WORDS: &[(&str, Word)] = &[
    ("async", Word::NoFlag("sync")),
    ("atime", Word::NotAtime(NOATIME)),
    ("bind", Word::Bind { recursive: false }),
    ("defaults", Word::Defaults),
    ("dev", Word::Clear(NODEV)),
    ("diratime", Word::Clear(NODIRATIME)),
    ("dirsync", Word::Flag("dirsync")),
    ("exec", Word::Clear(NOEXEC)),
    ("idmap", Word::Idmap { recursive: false }),
    ("iversion", Word::Flag("iversion")),
    ("lazytime", Word::Flag("lazytime")),
    ("loud", Word::NoFlag("silent")),
    ("mand", Word::Flag("mand")),
    ("noatime", Word::Atime(NOATIME)),
    ("nodev", Word::Set(NODEV)),
    ("nodiratime", Word::Set(NODIRATIME)),
    ("noexec", Word::Set(NOEXEC)),
    ("noiversion", Word::NoFlag("iversion")),
    ("nolazytime", Word::NoFlag("lazytime")),
    ("nomand", Word::NoFlag("mand")),
    ("norelatime", Word::NotAtime(RELATIME)),
    ("nostrictatime", Word::NotAtime(STRICTATIME)),
    ("nosuid", Word::Set(NOSUID)),
    ("nosymfollow", Word::Set(NOSYMFOLLOW)),
    ("ratime", Word::RecursiveAtime(RELATIME)),
    ("rbind", Word::Bind { recursive: true }),
    ("rdev", Word::RecursiveClear(NODEV)),
    ("rdiratime", Word::RecursiveClear(NODIRATIME)),
    ("relatime", Word::Atime(RELATIME)),
    ("remount", Word::Remount),
    ("rexec", Word::RecursiveClear(NOEXEC)),
    ("ridmap", Word::Idmap { recursive: true }),
    ("rnoatime", Word::RecursiveAtime(NOATIME)),
    ("rnodev", Word::RecursiveSet(NODEV)),
    ("rnodiratime", Word::RecursiveSet(NODIRATIME)),
    ("rnoexec", Word::RecursiveSet(NOEXEC)),
    ("rnorelatime", Word::RecursiveAtime(RELATIME)),
    ("rnostrictatime", Word::RecursiveAtime(RELATIME)),
    ("rnosuid", Word::RecursiveSet(NOSUID)),
    ("rnosymfollow", Word::RecursiveSet(NOSYMFOLLOW)),
    ("ro", Word::ReadOnly),
    ("rrelatime", Word::RecursiveAtime(RELATIME)),
    ("rro", Word::RecursiveSet(RDONLY)),
    ("rrw", Word::RecursiveClear(RDONLY)),
    ("rstrictatime", Word::RecursiveAtime(STRICTATIME)),
    ("rsuid", Word::RecursiveClear(NOSUID)),
    ("rsymfollow", Word::RecursiveClear(NOSYMFOLLOW)),
    ("rw", Word::ReadWrite),
    ("silent", Word::Flag("silent")),
    ("strictatime", Word::Atime(STRICTATIME)),
    ("suid", Word::Clear(NOSUID)),
    ("symfollow", Word::Clear(NOSYMFOLLOW)),
    ("sync", Word::Flag("sync")),
    ("tmpcopyup", Word::CopyUp),
];

/// What the options of one mount come to; of words that contradict each other the last one counts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options<'a> {
    pub(super) attr_set: u64,
    pub(super) attr_clear: u64,
    pub(super) recursive_set: u64,
    pub(super) recursive_clear: u64,
    pub(super) propagation: Vec<u64>,
    /// Superblock flags, as fsconfig(2) words.
    pub(super) flags: Vec<&'static str>,
    /// What is no known word, in order.
    pub(super) data: Vec<&'a str>,
    /// Whether it is a bind mount, and a recursive one.
    pub(super) bind: Option<bool>,
    pub(super) remount: bool,
    pub(super) copy_up: bool,
    /// Whether it is id-mapped, and recursively.
    pub(super) idmap: Option<bool>,
}

impl<'a> Options<'a> {
    pub(super) fn parse(words: impl Iterator<Item = &'a str>) -> Options<'a> {
        let mut options = Options::default();
        for word in words {
            if let Some(known) = lookup(WORDS, word) {
                options.apply(known);
            } else if let Some(propagation) = lookup(PROPAGATIONS, word) {
                options.propagation.push(propagation);
            } else {
                options.data.push(word);
            }
        }
        options
    }

    fn apply(&mut self, word: Word) {
        match word {
            Word::Set(bits) => set(&mut self.attr_set, &mut self.attr_clear, bits),
            Word::Clear(bits) => set(&mut self.attr_clear, &mut self.attr_set, bits),
            Word::Atime(kind) => choose_atime(&mut self.attr_set, &mut self.attr_clear, kind),
            Word::NotAtime(kind) if self.attr_set & ATIME == kind => {
                choose_atime(&mut self.attr_set, &mut self.attr_clear, RELATIME)
            }
            Word::NotAtime(_) | Word::Defaults => {}
            Word::RecursiveSet(bits) => {
                set(&mut self.recursive_set, &mut self.recursive_clear, bits)
            }
            Word::RecursiveClear(bits) => {
                set(&mut self.recursive_clear, &mut self.recursive_set, bits)
            }
            Word::RecursiveAtime(kind) => {
                choose_atime(&mut self.recursive_set, &mut self.recursive_clear, kind)
            }
            Word::Flag(flag) if self.flags.contains(&flag) => {}
            Word::Flag(flag) => self.flags.push(flag),
            Word::NoFlag(flag) => self.flags.retain(|set| *set != flag),
            Word::ReadOnly => {
                self.apply(Word::Set(RDONLY));
                self.apply(Word::Flag("ro"));
            }
            Word::ReadWrite => {
                self.apply(Word::Clear(RDONLY));
                self.apply(Word::NoFlag("ro"));
            }
            Word::Bind { recursive } => self.bind = Some(recursive || self.bind == Some(true)),
            Word::Remount => self.remount = true,
            Word::CopyUp => self.copy_up = true,
            Word::Idmap { recursive } => self.idmap = Some(recursive || self.idmap == Some(true)),
        }
    }
}

fn set(here: &mut u64, not_there: &mut u64, bits: u64) {
    *here |= bits;
    *not_there &= !bits;
}

fn choose_atime(set: &mut u64, clear: &mut u64, kind: u64) {
    *set = *set & !ATIME | kind;
    *clear |= ATIME;
}

/// The words that `features` names, sorted. The id-map words are left out, as runc does: `mountExtensions` tells of them.
pub(super) fn words() -> Vec<&'static str> {
    let own = WORDS
        .iter()
        .filter(|(_, word)| !matches!(word, Word::Idmap { .. }))
        .map(|(name, _)| *name);
    let mut words: Vec<_> = own
        .chain(PROPAGATIONS.iter().map(|(name, _)| *name))
        .collect();
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options<'_> {
        Options::parse(words.split(',').filter(|word| !word.is_empty()))
    }

    #[test]
    fn the_last_of_contradicting_words_counts() {
        for (words, attr_set, attr_clear) in [
            ("ro", RDONLY, 0),
            ("ro,rw", 0, RDONLY),
            ("rw,ro", RDONLY, 0),
            ("nosuid,suid,nodev", NODEV, NOSUID),
            ("noatime", NOATIME, ATIME),
            ("noatime,relatime", RELATIME, ATIME),
            ("noatime,atime", RELATIME, ATIME),
            ("strictatime,atime", STRICTATIME, ATIME),
            ("atime", 0, 0),
            ("nodiratime,nosymfollow", NODIRATIME | NOSYMFOLLOW, 0),
        ] {
            let options = parse(words);
            assert_eq!(
                (options.attr_set, options.attr_clear),
                (attr_set, attr_clear),
                "{words}"
            );
        }
    }

    #[test]
    fn recursive_words_are_apart_from_the_others() {
        let options = parse("rro,rnosuid,rnoatime,rexec,ro");
        assert_eq!(
            (options.recursive_set, options.recursive_clear),
            (RDONLY | NOSUID | NOATIME, NOEXEC | ATIME)
        );
        assert_eq!(options.attr_set, RDONLY);
    }

    #[test]
    fn flags_data_and_kinds() {
        let options =
            parse("sync,size=64k,ro,rprivate,newinstance,dirsync,async,shared,tmpcopyup,defaults");
        assert_eq!(options.flags, ["ro", "dirsync"]);
        assert_eq!(options.data, ["size=64k", "newinstance"]);
        assert_eq!(options.propagation, [(1 << 18) | (1 << 14), 1 << 20]);
        assert!(options.copy_up);
        assert_eq!(parse("rbind,bind").bind, Some(true));
        assert_eq!(parse("bind,idmap").idmap, Some(false));
        assert_eq!(parse("ridmap").idmap, Some(true));
        assert!(parse("remount").remount);
    }

    /// The list that runc prints, in its order.
    #[test]
    fn features_names_the_words_that_runc_names() {
        let runc = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
            nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private \
            ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime \
            rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid \
            rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable";
        assert_eq!(words(), runc.split_whitespace().collect::<Vec<_>>());
    }
}

//! What the stage and its parent say to each other over the control socket (AF_UNIX, SOCK_SEQPACKET).
//!
//! ```text
//! parent                                   stage
//!   │ ─── Enter (fd) ─────────────────────▶ │  v1 only, once for each hierarchy: write yourself into this list
//!   │ ─── Go ─────────────────────────────▶ │  v1 and systemd only: you are in your cgroup
//!   │ ◀── WantMaps ──────────────────────── │  a user namespace was unshared
//!   │ ─── Done ───────────────────────────▶ │
//!   │ ◀── Init (pidfd) ──────────────────── │  the process that goes on is another one; the sender leaves
//!   │ ◀── WantHostHooks ─────────────────── │
//!   │ ─── Done ───────────────────────────▶ │
//!   │ ◀── WantSource(index) ─────────────── │  any number of times
//!   │ ─── Done (fd) ──────────────────────▶ │
//!   │ ◀── Console (master fd) ───────────── │
//!   │ ◀── Note(step, errno) ─────────────── │  a step that may fail did
//!   │ ◀── WantFilter ────────────────────── │  only for a filter that is loaded before the stage is ready
//!   │ ─── Done, the filter's bytes ───────▶ │  eight each instruction (struct sock_filter)
//!   │ ◀── Ready ─────────────────────────── │  nothing of config.json can fail any more
//!   │ ◀── Listener(number) ──────────────── │  instead of Ready: a filter that notifies is loaded now, and this will be its listener
//!   │ ─── Commit, the filter's bytes ─────▶ │  the state is on disk: now wait for the fifo
//!   │ ─── Start, the filter's bytes ──────▶ │  the same, and go on at once
//!   │ ◀── Failure ───────────────────────── │  at any time; the stage ends
//!   └── EOF: the other side is gone, or (stage to parent) the program was executed
//! ```
//! A message that is not expected ends the launch on either side.

/// The size of the largest message: a [`Failure`], a hook's output in its detail.
pub const MESSAGE_MAX: usize = 512;

/// The size of the largest filter: BPF_MAXINSNS (linux/bpf_common.h) instructions of eight bytes.
pub const FILTER_MAX: usize = 4096 * 8;

/// First byte of a message to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ToParent {
    WantMaps = 1,
    Init = 2,
    WantHostHooks = 3,
    WantSource = 4,
    Console = 5,
    Note = 6,
    Ready = 7,
    Failure = 8,
    WantFilter = 9,
    Listener = 10,
}

impl ToParent {
    pub fn from_byte(byte: u8) -> Option<ToParent> {
        use ToParent::*;
        [
            WantMaps,
            Init,
            WantHostHooks,
            WantSource,
            Console,
            Note,
            Ready,
            Failure,
            WantFilter,
            Listener,
        ]
        .into_iter()
        .find(|&message| message as u8 == byte)
    }
}

/// First byte of a message to the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ToStage {
    Go = 1,
    Done = 2,
    Commit = 3,
    Start = 4,
    Enter = 5,
}

impl ToStage {
    pub fn from_byte(byte: u8) -> Option<ToStage> {
        use ToStage::*;
        [Go, Done, Commit, Start, Enter]
            .into_iter()
            .find(|&message| message as u8 == byte)
    }
}

macro_rules! calls {
    ($($name:ident = $text:literal),* $(,)?) => {
        /// The call inside a step that failed. `Check` is no system call: the stage itself found something wrong (the errno says what).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Call { $($name),* }

        impl Call {
            const ALL: &'static [Call] = &[$(Call::$name),*];

            /// The system call's name.
            pub fn name(self) -> &'static str {
                match self { $(Call::$name => $text),* }
            }

            pub fn from_byte(byte: u8) -> Option<Call> {
                Call::ALL.get(usize::from(byte)).copied()
            }
        }
    };
}

calls! {
    Check = "check", Protocol = "control socket", Open = "openat2", Read = "read", Write = "write", Mkdir = "mkdirat", Mknod = "mknodat",
    Symlink = "symlinkat", Unlink = "unlinkat", Chmod = "fchmod", Chown = "fchown", Stat = "fstat", Statfs = "fstatfs", Getdents = "getdents64",
    Readlink = "readlinkat", Fsopen = "fsopen", Fsconfig = "fsconfig", Fsmount = "fsmount", OpenTree = "open_tree", MoveMount = "move_mount",
    MountSetattr = "mount_setattr", Mount = "mount", Umount = "umount2", PivotRoot = "pivot_root", Chdir = "chdir", Fchdir = "fchdir",
    Chroot = "chroot", Setns = "setns", Unshare = "unshare", Clone3 = "clone3", Setsid = "setsid", Ioctl = "ioctl", Dup = "dup3",
    Socket = "socket", Sendmsg = "sendmsg", Recvmsg = "recvmsg", Prlimit = "prlimit64", SchedSetattr = "sched_setattr",
    SchedSetaffinity = "sched_setaffinity", IoprioSet = "ioprio_set", SetMempolicy = "set_mempolicy", Personality = "personality",
    Keyctl = "keyctl", Sethostname = "sethostname", Setdomainname = "setdomainname", Prctl = "prctl", Setgroups = "setgroups",
    Setresgid = "setresgid", Setresuid = "setresuid", Capset = "capset", Mmap = "mmap", Pipe = "pipe2", Wait = "waitid", Poll = "ppoll",
    Execve = "execve", CloseRange = "close_range", Access = "faccessat2", Getcwd = "getcwd", HookExit = "hook",
    Fcntl = "fcntl", Sigaction = "rt_sigaction", Seccomp = "seccomp",
}

/// Longest detail of a [`Failure`], in bytes.
pub const DETAIL_MAX: usize = 480;

/// Why the stage gave up, or (as a `Note`) what it went on without. On the wire: kind, call, step, errno, two arguments, length, detail.
#[derive(Debug, Clone, Copy)]
pub struct Failure {
    /// Index of the step in the plan.
    pub step: u32,
    pub call: Call,
    /// What the kernel said. For [`Call::HookExit`] the wait status, with -1 for a timeout.
    pub errno: i32,
    /// What helps to tell which of several like calls it was: the point and index of a hook.
    pub arguments: [u64; 2],
    /// How much of `detail` is used.
    pub length: usize,
    /// A path component, an option, a PATH candidate, a hook's output.
    pub detail: [u8; DETAIL_MAX],
}

impl Failure {
    /// A failure without detail.
    pub fn new(call: Call, errno: i32) -> Failure {
        Failure {
            step: 0,
            call,
            errno,
            arguments: [0; 2],
            length: 0,
            detail: [0; DETAIL_MAX],
        }
    }

    /// The same with as much of `detail` as fits.
    #[must_use]
    pub fn about(mut self, detail: &[u8]) -> Failure {
        self.length = detail.len().min(DETAIL_MAX);
        for (to, from) in self.detail.iter_mut().zip(detail) {
            *to = *from;
        }
        self
    }

    pub fn detail(&self) -> &[u8] {
        self.detail.get(..self.length).unwrap_or(&[])
    }

    /// The message's bytes; the second value is how many of them to send.
    pub fn encode(&self, kind: ToParent) -> ([u8; MESSAGE_MAX], usize) {
        let mut bytes = [0; MESSAGE_MAX];
        let mut at = 0usize;
        let mut push = |part: &[u8]| {
            for byte in part {
                if let Some(to) = bytes.get_mut(at) {
                    *to = *byte;
                    at = at.saturating_add(1);
                }
            }
        };
        push(&[kind as u8, self.call as u8]);
        push(&self.step.to_le_bytes());
        push(&self.errno.to_le_bytes());
        push(&self.arguments[0].to_le_bytes());
        push(&self.arguments[1].to_le_bytes());
        push(self.detail());
        (bytes, at)
    }

    /// Reads what [`Failure::encode`] wrote, the kind byte included.
    pub fn decode(bytes: &[u8]) -> Option<Failure> {
        let mut reader = crate::wire::Reader::new(bytes.get(1..)?);
        let call = Call::from_byte(reader.take()?)?;
        let step = reader.take()?;
        let errno = reader.take()?;
        let arguments = [reader.take()?, reader.take()?];
        let detail = bytes.get(26..)?;
        Some(Failure {
            step,
            arguments,
            ..Failure::new(call, errno).about(detail)
        })
    }
}

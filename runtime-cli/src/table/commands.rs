//! Every command, once.

use super::{Command, Flag, Hint, Positional, flags};
use crate::commands;

const ID: Positional = Positional {
    name: "ID",
    hint: Hint::Container,
};
const NEW_ID: Positional = Positional {
    name: "ID",
    hint: Hint::Nothing,
};

/// All commands in the order of the help.
pub static ALL: &[&Command] = &[
    &CREATE, &START, &RUN, &STATE, &KILL, &DELETE, &EXEC, &PAUSE, &RESUME, &UPDATE, &LIST, &PS,
    &EVENTS, &SPEC, &FEATURES, &EXPLAIN, &SECCOMP, &HELP, &GENERATE,
];

/// What the commands have in common: one container id, nothing after it.
const ON_A_CONTAINER: Command = Command {
    name: "",
    summary: "",
    description: "",
    positionals: &[ID],
    least: 1,
    most: Some(1),
    flags_end_at_positional: false,
    flags: &[],
    hidden: false,
    run: commands::help::run,
};

static CREATE: Command = Command {
    name: "create",
    summary: "create a container, ready to be started",
    description: "Does everything that config.json asks for up to the point where the user's program would run, and waits there for `start`. \
        Whatever can fail for a reason in config.json fails here, a missing program included.\n\n\
        ID may hold letters, digits and the characters _ + . - and must be new in the state root.",
    positionals: &[NEW_ID],
    flags: &[
        &flags::BUNDLE,
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &flags::PID_FILE,
        &flags::NO_PIVOT,
        &flags::NO_NEW_KEYRING,
        &flags::PRESERVE_FDS,
    ],
    run: commands::create::run,
    ..ON_A_CONTAINER
};

static START: Command = Command {
    name: "start",
    summary: "run the user's program in a created container",
    description: "Lets the program of a container that `create` made run, and returns at once.",
    run: commands::start::run,
    ..ON_A_CONTAINER
};

static RUN: Command = Command {
    name: "run",
    summary: "create and start a container, and wait for its end",
    description: "In the foreground, signals are forwarded to the container, its standard streams or terminal are copied, its exit status \
        becomes the command's (128+N after signal N), and the container is deleted at the end. With --detach the command returns when the \
        program runs.",
    positionals: &[NEW_ID],
    flags: &[
        &flags::BUNDLE,
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &flags::PID_FILE,
        &flags::NO_PIVOT,
        &flags::NO_NEW_KEYRING,
        &flags::PRESERVE_FDS,
        &flags::DETACH,
        &flags::KEEP,
        &flags::NO_SUBREAPER,
    ],
    run: commands::run::run,
    ..ON_A_CONTAINER
};

static STATE: Command = Command {
    name: "state",
    summary: "print the state of a container as JSON",
    description: "Prints the OCI state, with `rootfs`, `created` and `owner` added.",
    run: commands::state::run,
    ..ON_A_CONTAINER
};

static KILL: Command = Command {
    name: "kill",
    summary: "send a signal to the init process of a container",
    description: "SIGNAL is a number or a name, with or without SIG, in any case; the default is SIGTERM. SIGKILL to a container that shares \
        its pid namespace ends every process in its cgroup.",
    positionals: &[
        ID,
        Positional {
            name: "[SIGNAL]",
            hint: Hint::Signal,
        },
    ],
    most: Some(2),
    flags_end_at_positional: true,
    flags: &[&flags::ALL],
    run: commands::kill::run,
    ..ON_A_CONTAINER
};

static DELETE: Command = Command {
    name: "delete",
    summary: "remove a container that has ended, or was never started",
    description: "Removes its leftover processes, its cgroup and its state, and runs the poststop hooks.",
    flags: &[&flags::FORCE],
    run: commands::delete::run,
    ..ON_A_CONTAINER
};

static EXEC: Command = Command {
    name: "exec",
    summary: "run one more process in a container",
    description: "The process is described by --process, or by the flags and COMMAND on top of the `process` of the bundle's config.json. In \
        the foreground its exit status becomes the command's; 255 means that it could not be started.",
    positionals: &[
        ID,
        Positional {
            name: "[COMMAND [ARGUMENT...]]",
            hint: Hint::Nothing,
        },
    ],
    most: None,
    flags_end_at_positional: true,
    flags: &[
        &flags::CONSOLE_SOCKET,
        &flags::PIDFD_SOCKET,
        &flags::CWD,
        &flags::ENV,
        &flags::TTY,
        &flags::USER,
        &flags::ADDITIONAL_GIDS,
        &flags::PROCESS,
        &flags::DETACH,
        &flags::PID_FILE,
        &flags::PROCESS_LABEL,
        &flags::APPARMOR,
        &flags::NO_NEW_PRIVS,
        &flags::CAP,
        &flags::PRESERVE_FDS,
        &flags::CGROUP,
        &flags::IGNORE_PAUSED,
    ],
    run: commands::exec::run,
    ..ON_A_CONTAINER
};

static PAUSE: Command = Command {
    name: "pause",
    summary: "freeze every process of a container",
    description: "Returns when all processes stand still. One that cannot be frozen within 10 s (it sleeps uninterruptibly, in a hung mount for \
        example) makes the command fail, and the container runs on.",
    run: commands::pause::run,
    ..ON_A_CONTAINER
};

static RESUME: Command = Command {
    name: "resume",
    summary: "let the processes of a paused container go on",
    description: "Takes `pause` back.",
    run: commands::resume::run,
    ..ON_A_CONTAINER
};

static UPDATE: Command = Command {
    name: "update",
    summary: "change the limits of a container",
    description: "What is not named keeps its value. FILE (or standard input, for -) holds an object like config.json's `linux.resources`, and \
        leaves the other flags unread; devices in it are passed over. Sizes may end in k, m, g, t or p; -1 is no limit. When a limit is \
        refused, the former ones are in force again.",
    flags: &[
        &flags::RESOURCES,
        &flags::BLKIO_WEIGHT,
        &flags::CPU_PERIOD,
        &flags::CPU_QUOTA,
        &flags::CPU_BURST,
        &flags::CPU_SHARE,
        &flags::CPU_RT_PERIOD,
        &flags::CPU_RT_RUNTIME,
        &flags::CPUSET_CPUS,
        &flags::CPUSET_MEMS,
        &flags::CPU_IDLE,
        &flags::MEMORY,
        &flags::MEMORY_RESERVATION,
        &flags::MEMORY_SWAP,
        &flags::PIDS_LIMIT,
        &flags::L3_CACHE_SCHEMA,
        &flags::MEM_BW_SCHEMA,
        &flags::KERNEL_MEMORY,
        &flags::KERNEL_MEMORY_TCP,
    ],
    run: commands::update::run,
    ..ON_A_CONTAINER
};

static LIST: Command = Command {
    name: "list",
    summary: "list the containers of a state root",
    description: "A container whose state cannot be read is reported on standard error, and the others are listed.",
    positionals: &[],
    least: 0,
    most: Some(0),
    flags: &[&flags::FORMAT, &flags::QUIET],
    run: commands::list::run,
    ..ON_A_CONTAINER
};

static PS: Command = Command {
    name: "ps",
    summary: "list the processes of a container",
    description: "The table is made by the host's ps(1), called with the arguments given (default: -ef) and cut down to the container's processes.",
    positionals: &[
        ID,
        Positional {
            name: "[PS-ARGUMENT...]",
            hint: Hint::Nothing,
        },
    ],
    most: None,
    flags_end_at_positional: true,
    flags: &[&flags::FORMAT],
    run: commands::ps::run,
    ..ON_A_CONTAINER
};

static EVENTS: Command = Command {
    name: "events",
    summary: "print statistics and want of memory of a container as they come",
    description: "Prints one JSON object a line: of type `stats` at every interval, of type `oom` whenever the container runs out of memory. \
        Ends when the container has ended. A reader that is too slow misses readings. Without a memory controller only --stats works.",
    flags: &[&flags::INTERVAL, &flags::STATS],
    run: commands::events::run,
    ..ON_A_CONTAINER
};

static SPEC: Command = Command {
    name: "spec",
    summary: "write a config.json to start from",
    description: "Writes config.json into the bundle, and refuses if there is one.",
    positionals: &[],
    least: 0,
    most: Some(0),
    flags: &[&flags::BUNDLE, &flags::SPEC_ROOTLESS],
    run: commands::spec::run,
    ..ON_A_CONTAINER
};

static FEATURES: Command = Command {
    name: "features",
    summary: "print what this runtime supports, as JSON",
    description: "The document is the runtime specification's features structure.",
    positionals: &[],
    least: 0,
    most: Some(0),
    run: commands::features::run,
    ..ON_A_CONTAINER
};

static EXPLAIN: Command = Command {
    name: "explain",
    summary: "print what a bundle will do, step by step, without doing it",
    description: "Each step names the value of config.json that asks for it; conditional steps show both branches; keys that have no effect \
        are listed at the end.",
    positionals: &[Positional {
        name: "[BUNDLE]",
        hint: Hint::Directory,
    }],
    least: 0,
    flags: &[&flags::EXPLAIN_FORMAT],
    run: commands::explain::run,
    ..ON_A_CONTAINER
};

static SECCOMP: Command = Command {
    name: "seccomp",
    summary: "check, explain, compare and record seccomp profiles",
    description: "`seccomp check FILE` says what is wrong with a profile, or suspicious, with JSON pointers. `seccomp explain FILE` says what \
        happens to each system call, or with --syscall to one, and which rule says so. `seccomp diff FILE FILE` lists the calls that two \
        profiles decide differently, each with an example. `seccomp record --output FILE BUNDLE` runs a bundle in the foreground and writes \
        the profile that allows just what it called; what its config.json has for linux.seccomp does not count meanwhile. `seccomp show \
        PID` prints the filters of a process that runs, or of a container by its id, and what they do together; the process is stopped \
        for a moment.\n\n\
        FILE is a linux.seccomp object or a config.json; - is the standard input. check exits with 1 if a runtime would refuse the profile, \
        diff if there are differences, record as the container does.",
    positionals: &[
        Positional {
            name: "check|explain|diff|record|show",
            hint: Hint::Words(&["check", "explain", "diff", "record", "show"]),
        },
        Positional {
            name: "FILE|BUNDLE|PID…",
            hint: Hint::File,
        },
    ],
    least: 2,
    most: Some(3),
    flags: &[
        &flags::SECCOMP_SYSCALL,
        &flags::SECCOMP_ARGS,
        &flags::SECCOMP_ARCH,
        &flags::OUTPUT,
        &flags::TRIM,
    ],
    run: commands::seccomp::run,
    ..ON_A_CONTAINER
};

static HELP: Command = Command {
    name: "help",
    summary: "show the help of the program or of one command",
    description: "The same as the --help flag.",
    positionals: &[Positional {
        name: "[COMMAND]",
        hint: Hint::Nothing,
    }],
    least: 0,
    run: commands::help::run,
    ..ON_A_CONTAINER
};

/// Used by `make install`.
static GENERATE: Command = Command {
    name: "generate",
    summary: "write the manual pages into a directory, or print a shell completion",
    description: "`generate man DIR` writes one page for the program and one for each command into DIR. `generate bash`, `generate zsh` and \
        `generate fish` print a completion script.",
    positionals: &[
        Positional {
            name: "man|bash|zsh|fish",
            hint: Hint::Words(&["man", "bash", "zsh", "fish"]),
        },
        Positional {
            name: "[DIR]",
            hint: Hint::Directory,
        },
    ],
    most: Some(2),
    hidden: true,
    run: commands::generate::run,
    ..ON_A_CONTAINER
};

/// `--help`, which every command understands without listing it.
pub static COMMON: &[&Flag] = &[&flags::HELP];

//! User namespaces that no container lives in: made for an idmapped mount, or asked for their maps.
//!
//! Only a process can be in a namespace, so a stage with a plan of one step goes there, is looked at, and is killed.

use std::os::fd::{BorrowedFd, OwnedFd};

use stage::step::Step;

use super::{Child, Freezing, Joined, Parent, Start, idmap};
use crate::config::{IdMap, IdMaps};
use crate::error::{Error, ErrorKind, Pointer};
use crate::host::Host;
use crate::plan::{CONTROL, LaunchKind, LaunchPlan, OnError, Owned, Planned, Shape, SlotSource};

const CLONE_NEWUSER: u32 = 0x1000_0000;

/// A user namespace with these maps.
pub fn make(host: &Host, maps: &IdMaps) -> Result<OwnedFd, Error> {
    let plan = plan(Step::NewUser {}, vec![SlotSource::Control]);
    visit(host, &plan, &Joined::default(), maps, |pid| {
        idmap::user_namespace_of(host, pid)
    })
}

/// The maps of a user namespace, as this process sees them.
pub fn maps_of(host: &Host, namespace: BorrowedFd<'_>) -> Result<IdMaps, Error> {
    let namespace = namespace
        .try_clone_to_owned()
        .map_err(|error| Error::new(ErrorKind::Internal, error))?;
    let slots = vec![
        SlotSource::Control,
        SlotSource::Namespace {
            kind: CLONE_NEWUSER,
            path: "/proc/self/ns/user".into(),
            at: Pointer::CONFIG.key("linux").key("namespaces"),
        },
    ];
    let step = Step::Join {
        namespace: CONTROL + 1,
        kind: CLONE_NEWUSER,
    };
    let joined = Joined::user(namespace);
    visit(
        host,
        &plan(step, slots),
        &joined,
        &IdMaps::default(),
        |pid| {
            Ok(IdMaps {
                uid: parse(&host.read_proc(&format!("{pid}/uid_map"))?),
                gid: parse(&host.read_proc(&format!("{pid}/gid_map"))?),
            })
        },
    )
}

/// Sends a stage there, and asks about it while it waits.
fn visit<T>(
    host: &Host,
    plan: &LaunchPlan,
    joined: &Joined,
    maps: &IdMaps,
    ask: impl FnOnce(i32) -> Result<T, Error>,
) -> Result<T, Error> {
    let start = Start {
        host,
        cgroup: None,
        freezing: Freezing::Impossible,
        stdio: [None, None, None],
        fifo: None,
        init: None,
        joined,
    };
    let mut child = Child::spawn(plan, &start)?;
    ask(child.supervise(host, &mut Maps(maps))?)
}

fn plan(step: Step<Owned>, slots: Vec<SlotSource>) -> LaunchPlan {
    let planned = |step| Planned {
        step,
        on_error: OnError::Fail,
        at: Pointer::CONFIG.key("mounts"),
    };
    LaunchPlan {
        kind: LaunchKind::Create,
        shape: Shape::NewUser,
        clone_flags: 0,
        into_cgroup: false,
        awaits_go: false,
        slots,
        handed: Vec::new(),
        steps: vec![planned(step), planned(Step::AwaitCommit {})],
        needs_maps: true,
        forks: false,
        host_hooks: false,
        filter: None,
        rlimits: Vec::new(),
        preserved: 0,
    }
}

/// Lines of three numbers: inside, outside, how many.
fn parse(text: &[u8]) -> Vec<IdMap> {
    let text = String::from_utf8_lossy(text);
    let line = |line: &str| {
        let mut numbers = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok());
        Some(IdMap {
            container: numbers.next()?,
            host: numbers.next()?,
            size: numbers.next()?,
        })
    };
    text.lines().filter_map(line).collect()
}

struct Maps<'a>(&'a IdMaps);

impl Parent for Maps<'_> {
    fn id_maps(&self) -> &IdMaps {
        self.0
    }

    fn host_hooks(&mut self, _: i32) -> Result<(), Error> {
        Ok(())
    }

    fn limits(&mut self, _: i32) -> Result<(), Error> {
        Ok(())
    }
}

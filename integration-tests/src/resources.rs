//! `linux.resources` from a seed: right ones that a kernel takes and gives back unchanged, and wrong ones with the place of the fault.
//!
//! The same seed and machine give the same objects. What a kernel rounds is given rounded (pages, lists of CPUs), so that plan and file can
//! be compared; what this machine has not (a controller, a device, a size of huge pages) is never asked for.

use serde_json::{Map, Value, json};

const PAGE: u64 = 4096;

/// What may be asked for.
#[derive(Debug, Clone)]
pub struct Machine {
    /// cgroup v2 alone.
    pub unified: bool,
    /// Controllers in the words of v2 (`io`, not `blkio`), and `net_cls` and `net_prio` of v1.
    pub controllers: Vec<String>,
    pub cpus: u32,
    /// Whole block devices.
    pub devices: Vec<(u32, u32)>,
    /// `2MB`
    pub hugepages: Vec<String>,
    /// Interfaces for `net_prio`.
    pub interfaces: Vec<String>,
    /// RDMA devices.
    pub rdma: Vec<String>,
    /// Swap is accounted.
    pub swap: bool,
    /// Block I/O weights of the cgroup: BFQ, or on v2 a cost model.
    pub weights: bool,
    /// CONFIG_RT_GROUP_SCHED, and realtime to give (v1).
    pub realtime: bool,
}

impl Machine {
    /// One that has everything: for plans, which no kernel judges.
    pub fn ideal(unified: bool) -> Machine {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Machine {
            unified,
            controllers: words(&[
                "memory", "cpu", "cpuset", "io", "pids", "hugetlb", "rdma", "net_cls", "net_prio",
            ]),
            cpus: 8,
            devices: vec![(7, 0), (8, 16), (259, 1)],
            hugepages: words(&["64KB", "2MB", "1GB"]),
            interfaces: words(&["lo", "eth0"]),
            rdma: words(&["mlx5_0", "rxe1"]),
            swap: true,
            weights: true,
            realtime: true,
        }
    }

    fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }
}

/// A wrong object.
#[derive(Debug, Clone)]
pub struct Wrong {
    pub resources: Value,
    /// RFC 6901, below `resources`: `/memory/swap`.
    pub at: String,
}

/// The source of both.
#[derive(Debug)]
pub struct Random<'m> {
    state: u64,
    machine: &'m Machine,
}

impl<'m> Random<'m> {
    pub fn new(seed: u64, machine: &'m Machine) -> Random<'m> {
        Random {
            state: seed,
            machine,
        }
    }

    /// A right object; now and then an empty one.
    pub fn valid(&mut self) -> Value {
        let mut resources = Map::new();
        for (key, controllers, make) in [
            (
                "memory",
                &["memory"][..],
                Random::memory as fn(&mut Self) -> Value,
            ),
            ("cpu", &["cpu", "cpuset"], Random::cpu),
            ("pids", &["pids"], Random::pids),
            ("blockIO", &["io"], Random::block_io),
            ("hugepageLimits", &["hugetlb"], Random::hugepages),
            ("network", &["net_cls", "net_prio"], Random::network),
            ("rdma", &["rdma"], Random::rdma),
            ("unified", &["memory"], Random::unified),
        ] {
            let there = controllers.iter().any(|name| self.machine.has(name));
            if there && self.perhaps() {
                resources.insert(key.to_owned(), make(self));
            }
        }
        if !self.machine.unified {
            resources.remove("unified");
        }
        Value::Object(resources)
    }

    /// A right object with one value made wrong.
    pub fn invalid(&mut self) -> Wrong {
        let mut resources = self.valid();
        let (at, value) = self.fault();
        // A fault of two values together brings both.
        for (pointer, value) in [(at.clone(), value)]
            .into_iter()
            .chain(self.companions(&at))
        {
            put(&mut resources, &pointer, value);
        }
        Wrong { resources, at }
    }

    /// (where, what): every rule, and every type.
    fn fault(&mut self) -> (String, Value) {
        let big = self.between(1 << 44, 1 << 62);
        let negative = -i64::try_from(self.between(2, 1 << 40)).unwrap_or(2);
        let mut faults = vec![
            ("/memory/limit", json!(negative)),
            ("/memory/limit", json!("64M")),
            ("/memory/reservation", json!(negative)),
            ("/memory/swap", json!(negative)),
            ("/memory/kernelTCP", json!(negative)),
            ("/memory/swappiness", json!(self.between(101, 1 << 40))),
            ("/memory/swappiness", json!(-1)),
            ("/memory/disableOOMKiller", json!("yes")),
            ("/memory/checkBeforeUpdate", json!(1)),
            ("/memory", json!([])),
            ("/cpu/shares", json!("many")),
            ("/cpu/quota", json!(self.between(1, 999))),
            ("/cpu/quota", json!(big)),
            ("/cpu/period", json!(self.between(1, 999))),
            ("/cpu/period", json!(self.between(1_000_001, 1 << 40))),
            ("/cpu/burst", json!(-1)),
            ("/cpu/burst", json!(big)),
            ("/cpu/realtimeRuntime", json!(negative)),
            ("/cpu/realtimePeriod", json!(negative)),
            ("/cpu/idle", json!(self.between(2, 100))),
            ("/cpu/idle", json!(-1)),
            ("/cpu/cpus", json!("0-")),
            ("/cpu/cpus", json!("3-1")),
            ("/cpu/cpus", json!("a,b")),
            ("/cpu/cpus", json!(0)),
            ("/cpu/mems", json!("0;1")),
            ("/cpu/mems", json!("-1")),
            ("/pids/limit", json!(self.between(4_194_305, 1 << 62))),
            ("/pids/limit", json!(1.5)),
            ("/blockIO/weight", json!(self.between(1, 9))),
            ("/blockIO/weight", json!(self.between(1001, 65_535))),
            ("/blockIO/weight", json!(65_536)),
            ("/blockIO/leafWeight", json!(self.between(1, 9))),
            ("/hugepageLimits", json!({})),
            ("/network/classID", json!(1u64 << 32)),
            ("/unified", json!([])),
            ("/rdma", json!(["mlx5_0"])),
            // Of two values together.
            ("/memory/swap", json!(PAGE)),
            ("/memory/swap", json!(2 * PAGE)),
            ("/cpu/burst", json!(2001)),
        ];
        let nested = [
            (
                "/blockIO/weightDevice",
                "weight",
                json!({"major": 7, "minor": 0, "weight": 5}),
            ),
            (
                "/blockIO/weightDevice",
                "leafWeight",
                json!({"major": 7, "minor": 0, "leafWeight": 2000}),
            ),
            (
                "/blockIO/weightDevice",
                "major",
                json!({"major": -1, "minor": 0, "weight": 10}),
            ),
            (
                "/blockIO/throttleReadBpsDevice",
                "minor",
                json!({"major": 7, "minor": 1 << 20, "rate": 1}),
            ),
            (
                "/blockIO/throttleWriteBpsDevice",
                "rate",
                json!({"major": 7, "minor": 0, "rate": -1}),
            ),
            (
                "/blockIO/throttleReadIOPSDevice",
                "major",
                json!({"major": 4096, "minor": 0, "rate": 1}),
            ),
            (
                "/blockIO/throttleWriteIOPSDevice",
                "major",
                json!({"major": "8", "minor": 0, "rate": 1}),
            ),
            (
                "/hugepageLimits",
                "pageSize",
                json!({"pageSize": "2M", "limit": 0}),
            ),
            (
                "/hugepageLimits",
                "pageSize",
                json!({"pageSize": "../2MB", "limit": 0}),
            ),
            (
                "/hugepageLimits",
                "limit",
                json!({"pageSize": "2MB", "limit": -1}),
            ),
            (
                "/network/priorities",
                "name",
                json!({"name": "eth 0", "priority": 1}),
            ),
            (
                "/network/priorities",
                "priority",
                json!({"name": "eth0", "priority": "high"}),
            ),
        ];
        if self.machine.unified {
            faults.extend([
                ("/unified/memory.high", json!(1)),
                ("/unified/memory.high", json!("a\u{0}")),
                ("/unified/memory", json!("1")),
                ("/unified/.high", json!("1")),
                ("/unified/memory..high", json!("1")),
                ("/unified/..~1memory.high", json!("1")),
                ("/unified/cgroup.procs", json!("1")),
                ("/unified/cgroup.freeze", json!("1")),
                ("/unified/cgroup.subtree_control", json!("+memory")),
            ]);
        } else {
            faults.extend([
                ("/cpu/shares", json!(1)),
                ("/cpu/shares", json!(self.between(262_145, 1 << 62))),
                ("/unified", json!({"memory.high": "4096"})),
                ("/cpu/realtimeRuntime", json!(2001)),
            ]);
        }
        let rdma = [
            ("/rdma/a b", "", json!({"hcaHandles": 1})),
            (
                "/rdma/mlx5_0",
                "/hcaObjects",
                json!({"hcaObjects": 1u64 << 31}),
            ),
        ];
        let choice = self.below(faults.len() + nested.len() + rdma.len());
        if let Some((at, value)) = faults.get(choice) {
            return ((*at).to_owned(), value.clone());
        }
        let choice = choice - faults.len();
        match nested.get(choice) {
            // The list is of this element alone: `put` replaces what stands there.
            Some((list, key, element)) => (format!("{list}/0/{key}"), element.clone()),
            None => {
                let (at, key, value) = &rdma[choice - nested.len()];
                (format!("{at}{key}"), value.clone())
            }
        }
    }

    /// What a fault of two values needs beside it, and what must not stand beside it.
    fn companions(&mut self, at: &str) -> Vec<(String, Value)> {
        let (key, value) = match at {
            "/memory/swap" => ("/memory/limit", json!(3 * PAGE)),
            "/cpu/burst" => ("/cpu/quota", json!(2000)),
            "/cpu/realtimeRuntime" => ("/cpu/realtimePeriod", json!(2000)),
            _ => return Vec::new(),
        };
        vec![(key.to_owned(), value)]
    }

    fn memory(&mut self) -> Value {
        let mut memory = Map::new();
        let limit = self.pages(16 << 20, 1 << 34);
        let unlimited = self.below(8) == 0;
        if self.perhaps() {
            memory.insert(
                "limit".into(),
                if unlimited { json!(-1) } else { json!(limit) },
            );
            if self.machine.swap && !unlimited && self.perhaps() {
                let both = limit + self.pages(0, 1 << 30);
                let both = if self.below(8) == 0 {
                    json!(-1)
                } else {
                    json!(both)
                };
                memory.insert("swap".into(), both);
            }
        }
        if self.perhaps() {
            memory.insert("reservation".into(), json!(self.pages(PAGE, 1 << 34)));
        }
        if self.perhaps() {
            memory.insert("disableOOMKiller".into(), json!(self.perhaps()));
        }
        if self.perhaps() {
            memory.insert("swappiness".into(), json!(self.between(0, 100)));
        }
        if self.below(4) == 0 {
            memory.insert("kernelTCP".into(), json!(self.pages(PAGE, 1 << 34)));
        }
        if self.below(4) == 0 {
            memory.insert("checkBeforeUpdate".into(), json!(self.perhaps()));
        }
        Value::Object(memory)
    }

    fn cpu(&mut self) -> Value {
        let mut cpu = Map::new();
        let (of_cpu, of_cpuset) = (self.machine.has("cpu"), self.machine.has("cpuset"));
        if of_cpu && self.perhaps() {
            cpu.insert("shares".into(), json!(self.between(2, 262_144)));
        }
        let quota = self.between(1000, 1 << 32);
        if of_cpu && self.perhaps() {
            let unlimited = self.below(8) == 0;
            cpu.insert(
                "quota".into(),
                if unlimited { json!(-1) } else { json!(quota) },
            );
            if !unlimited && self.perhaps() {
                cpu.insert("burst".into(), json!(self.between(0, quota)));
            }
        }
        if of_cpu && self.perhaps() {
            cpu.insert("period".into(), json!(self.between(1000, 1_000_000)));
        }
        if of_cpu && self.below(4) == 0 {
            cpu.insert("idle".into(), json!(self.between(0, 1)));
        }
        if of_cpu && self.machine.realtime && self.below(4) == 0 {
            let period = self.between(1000, 1_000_000);
            cpu.insert("realtimePeriod".into(), json!(period));
            cpu.insert("realtimeRuntime".into(), json!(self.between(1, period)));
        }
        if of_cpuset && self.perhaps() {
            cpu.insert("cpus".into(), json!(self.cpus()));
        }
        if of_cpuset && self.perhaps() {
            cpu.insert("mems".into(), json!("0"));
        }
        Value::Object(cpu)
    }

    /// A list as the kernel prints it: ascending, neighbours joined.
    fn cpus(&mut self) -> String {
        let first = self.below(self.machine.cpus as usize);
        let last = first + self.below(self.machine.cpus as usize - first);
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    }

    fn pids(&mut self) -> Value {
        match self.below(8) {
            0 => json!({"limit": -1}),
            1 => json!({}),
            _ => json!({"limit": self.between(64, 4_194_304)}),
        }
    }

    fn block_io(&mut self) -> Value {
        let mut block_io = Map::new();
        if self.machine.weights && self.perhaps() {
            block_io.insert("weight".into(), json!(self.between(10, 1000)));
        }
        let most = 1 << 31;
        for key in [
            "throttleReadBpsDevice",
            "throttleWriteBpsDevice",
            "throttleReadIOPSDevice",
            "throttleWriteIOPSDevice",
        ] {
            let mut list = Vec::new();
            for (major, minor) in self.machine.devices.clone() {
                if self.perhaps() {
                    list.push(
                        json!({"major": major, "minor": minor, "rate": self.between(1, most)}),
                    );
                }
            }
            if !list.is_empty() {
                block_io.insert(key.into(), Value::Array(list));
            }
        }
        Value::Object(block_io)
    }

    fn hugepages(&mut self) -> Value {
        let mut limits = Vec::new();
        for size in self.machine.hugepages.clone() {
            if self.perhaps() {
                // A multiple of every size that there is, on every machine.
                limits.push(json!({"pageSize": size, "limit": self.between(0, 64) << 34}));
            }
        }
        Value::Array(limits)
    }

    fn network(&mut self) -> Value {
        let mut network = Map::new();
        if self.machine.has("net_cls") {
            network.insert("classID".into(), json!(self.between(1, u32::MAX.into())));
        }
        if self.machine.has("net_prio") {
            let mut priorities = Vec::new();
            for name in self.machine.interfaces.clone() {
                priorities.push(json!({"name": name, "priority": self.between(0, 1000)}));
            }
            network.insert("priorities".into(), Value::Array(priorities));
        }
        Value::Object(network)
    }

    fn rdma(&mut self) -> Value {
        let mut devices = Map::new();
        for name in self.machine.rdma.clone() {
            let mut limits = Map::new();
            for key in ["hcaHandles", "hcaObjects"] {
                if self.perhaps() {
                    limits.insert(key.into(), json!(self.between(0, 1 << 30)));
                }
            }
            devices.insert(name, Value::Object(limits));
        }
        Value::Object(devices)
    }

    /// Files that nothing else here writes.
    fn unified(&mut self) -> Value {
        let mut files = Map::new();
        for (file, value) in [
            ("memory.high", self.pages(1 << 30, 1 << 34).to_string()),
            ("memory.min", self.pages(0, 1 << 20).to_string()),
            ("memory.oom.group", self.between(0, 1).to_string()),
            ("cgroup.max.depth", self.between(1, 1000).to_string()),
            ("cgroup.max.descendants", "max".to_owned()),
        ] {
            if self.perhaps() {
                files.insert(file.to_owned(), json!(value));
            }
        }
        Value::Object(files)
    }

    fn perhaps(&mut self) -> bool {
        self.next() & 1 == 1
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    /// Both ends included.
    fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.next() % (last - first + 1)
    }

    fn pages(&mut self, first: u64, last: u64) -> u64 {
        self.between(first / PAGE, last / PAGE) * PAGE
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Puts `value` at `pointer`, making objects on the way. A pointer into a list's element 0 replaces the list by `[value]`, and one to a
/// member of an RDMA device the device: there the value is the whole element.
fn put(resources: &mut Value, pointer: &str, value: Value) {
    let (path, value) = if let Some((list, _)) = pointer.split_once("/0/") {
        (list, Value::Array(vec![value]))
    } else if let Some((device, _)) = pointer
        .strip_prefix("/rdma/")
        .and_then(|rest| rest.split_once('/'))
    {
        (&pointer[.."/rdma/".len() + device.len()], value)
    } else {
        (pointer, value)
    };
    let mut at = resources;
    for key in path.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = &mut at[key.replace("~1", "/")];
    }
    *at = value;
}

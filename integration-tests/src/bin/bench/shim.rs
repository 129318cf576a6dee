//! The shim against containerd's own with Debian's runc: memory, time, processor time, output. Both are called here as containerd calls
//! them, without containerd in between, whose own time is the same for both and would hide theirs; what a user of `ctr` sees is in
//! `ctr.rs`. A containerd runs beside them and takes their events.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::Failure;
use garboard_integration_tests::cgroups;
use garboard_integration_tests::engine::containerd::Containerd;
use garboard_integration_tests::engine::shim::{Caller, Shim, Stdio3};
use garboard_integration_tests::engine::{self, Door, Engine};

use crate::Bench;
use crate::time::median;

/// Debian's, which containerd takes for `io.containerd.runc.v2`.
const PEER: &str = "/usr/bin/containerd-shim-runc-v2";
const TRUE: &str =
    r#"{"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"]}"#;

/// Two shims and what they work on.
struct Stage {
    token: String,
    dir: PathBuf,
    ours: Caller,
    peer: Caller,
    rootfs: PathBuf,
    made: AtomicU32,
}

/// A container that is being made: its bundle and its id.
struct Made {
    bundle: PathBuf,
    id: String,
}

/// A container that runs alone in its shim.
struct Pod {
    made: Made,
    shim: Shim,
    init: u32,
}

fn on_stage(
    bench: &Bench,
    take: impl FnOnce(&Stage) -> Result<f64, Failure>,
) -> Result<f64, Failure> {
    // Shims are orphans of `start`.
    nix::sys::prctl::set_child_subreaper(true)?;
    let engine = Engine::enter(&bench.test, Door::Shim)?;
    if !Path::new(PEER).is_file() {
        return Err(Failure::skip("needs the program containerd-shim-runc-v2"));
    }
    let _containerd = Containerd::start(&engine)?;
    let rootfs = bench.test.scratch("rootfs-of-all")?;
    Bundle::sleeper().write(&rootfs)?;
    let caller = |program: PathBuf| Caller {
        program,
        namespace: bench.test.token.clone(),
        cgroup: None,
        path: engine.path(),
    };
    take(&Stage {
        token: bench.test.token.clone(),
        dir: bench.test.dir.clone(),
        ours: caller(engine::shim_program(&bench.test)?),
        peer: caller(PathBuf::from(PEER)),
        rootfs: rootfs.join("rootfs"),
        made: AtomicU32::new(0),
    })
}

impl Stage {
    /// A bundle with the rootfs of all.
    fn bundle(&self, args: &[&str]) -> Result<Made, Failure> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let id = format!("s{number}-{}", self.token);
        let path = format!("/{}/{id}", self.token);
        let bundle = Bundle::args(args.iter().copied())
            .set("/linux/cgroupsPath", path.into())
            .set("/root/path", self.rootfs.display().to_string().into());
        let dir = self.dir.join(format!("bundle-{number}"));
        fs::create_dir(&dir)?;
        fs::write(dir.join("config.json"), bundle.config.to_string())?;
        Ok(Made { bundle: dir, id })
    }

    fn pod(&self, caller: &Caller) -> Result<Pod, Failure> {
        let made = self.bundle(&["sleep", "10000"])?;
        let mut shim = caller.start(&made.bundle, &made.id)?;
        let init = shim.create(&made.bundle, &made.id, Stdio3::default())?;
        shim.start(&made.id, "")?;
        Ok(Pod { made, shim, init })
    }

    /// Times taken by turns, the peer's first, and the ratio of their medians.
    fn by_turns(
        &self,
        rounds: usize,
        mut once: impl FnMut(&Caller) -> Result<f64, Failure>,
    ) -> Result<f64, Failure> {
        let (mut ours, mut peer) = (Vec::new(), Vec::new());
        for round in 0..rounds + 2 {
            let (b, a) = (once(&self.peer)?, once(&self.ours)?);
            // The first two only warm up.
            if round >= 2 {
                peer.push(b);
                ours.push(a);
            }
        }
        let (ours, peer) = (median(ours), median(peer));
        println!("    medians: runc's {peer:.4}, ours {ours:.4}");
        Ok(ours / peer)
    }
}

impl Pod {
    fn end(mut self) -> Result<(), Failure> {
        self.shim.kill(&self.made.id)?;
        self.shim.wait(&self.made.id, "")?;
        let pid = self.shim.pid(&self.made.id)?;
        self.shim.delete(&self.made.id, "")?;
        self.shim.shutdown(&self.made.id, pid)
    }
}

/// A field of smaps_rollup, in kB.
fn smaps(pid: u32, field: &str) -> Result<f64, Failure> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    Ok(number
        .ok_or_else(|| Failure::new(format!("no {field} of process {pid}")))?
        .parse()?)
}

/// RSS of the shim of one running container, in MB.
pub fn rss(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let measure = |caller: &Caller, name: &str| -> Result<f64, Failure> {
            let mut pod = stage.pod(caller)?;
            std::thread::sleep(Duration::from_secs(1));
            let pid = pod.shim.pid(&pod.made.id)?.unsigned_abs();
            let (rss, pss) = (smaps(pid, "Rss")?, smaps(pid, "Pss")?);
            let anonymous = smaps(pid, "Anonymous")?;
            println!("    {name}: RSS {rss} kB, PSS {pss} kB, anonymous {anonymous} kB");
            pod.end()?;
            Ok(rss.max(pss) / 1024.0)
        };
        measure(&stage.peer, "runc's")?;
        measure(&stage.ours, "ours")
    })
}

/// What the shims and inits of 100 pods take of memory.
pub fn memory_of_pods(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let count = if bench.quick { 20 } else { 100 };
        let measure = |caller: &Caller| -> Result<f64, Failure> {
            let pods = (0..count).map(|_| stage.pod(caller));
            let mut pods = pods.collect::<Result<Vec<Pod>, Failure>>()?;
            std::thread::sleep(Duration::from_secs(2));
            let mut sum = 0.0;
            for pod in &mut pods {
                let pid = pod.shim.pid(&pod.made.id)?.unsigned_abs();
                sum += smaps(pid, "Pss")? + smaps(pod.init, "Pss")?;
            }
            pods.into_iter().try_for_each(Pod::end)?;
            Ok(sum)
        };
        let (peer, ours) = (measure(&stage.peer)?, measure(&stage.ours)?);
        println!("    kB of {count} pods: runc's {peer:.0}, ours {ours:.0}");
        Ok(ours / peer)
    })
}

fn life(stage: &Stage, caller: &Caller) -> Result<f64, Failure> {
    let made = stage.bundle(&["/bin/true"])?;
    let since = Instant::now();
    let mut shim = caller.start(&made.bundle, &made.id)?;
    let pid = shim.pid(&made.id);
    shim.create(&made.bundle, &made.id, Stdio3::default())?;
    shim.start(&made.id, "")?;
    let pid = match pid {
        Ok(pid) => pid,
        // The stock shim knows itself only once there is a container.
        Err(_) => shim.pid(&made.id)?,
    };
    let status = shim.wait(&made.id, "")?;
    shim.delete(&made.id, "")?;
    shim.shutdown(&made.id, pid)?;
    let time = since.elapsed().as_secs_f64();
    fs::remove_dir_all(&made.bundle)?;
    match status {
        0 => Ok(time),
        status => Err(Failure::new(format!("/bin/true ended with {status}"))),
    }
}

/// A shim and its container from `start` to the shim's end.
pub fn whole_life(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let rounds = if bench.quick { 20 } else { 100 };
        stage.by_turns(rounds, |caller| life(stage, caller))
    })
}

/// Such lives a second, eight at once: seconds, so that less is better.
pub fn lives_at_once(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let count: u32 = if bench.quick { 80 } else { 400 };
        let rate = |caller: &Caller| -> Result<f64, Failure> {
            let left = AtomicU32::new(count);
            let since = Instant::now();
            std::thread::scope(|scope| {
                let work = || {
                    let take = |left: u32| left.checked_sub(1);
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                        .is_ok()
                    {
                        life(stage, caller)?;
                    }
                    Ok(())
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
                threads.into_iter().try_for_each(joined)
            })?;
            Ok(f64::from(count) / since.elapsed().as_secs_f64())
        };
        let (peer, ours) = (rate(&stage.peer)?, rate(&stage.ours)?);
        println!("    a second: runc's {peer:.1}, ours {ours:.1}");
        Ok(peer / ours)
    })
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Result<(), Failure>>) -> Result<(), Failure> {
    let panicked = |_| Failure::new("a thread panicked");
    thread.join().map_err(panicked)?
}

/// An exec of /bin/true from its making known to its deletion.
fn probe(shim: &mut Shim, id: &str, number: u32) -> Result<f64, Failure> {
    let exec = format!("e{number}");
    let since = Instant::now();
    shim.exec(id, &exec, TRUE, Stdio3::default())?;
    shim.start(id, &exec)?;
    let status = shim.wait(id, &exec)?;
    shim.delete(id, &exec)?;
    let time = since.elapsed().as_secs_f64();
    match status {
        0 => Ok(time),
        status => Err(Failure::new(format!(
            "exec of /bin/true ended with {status}"
        ))),
    }
}

/// The wall time of an exec.
pub fn exec(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let rounds = if bench.quick { 50 } else { 300 };
        let (mut ours, mut peer) = (stage.pod(&stage.ours)?, stage.pod(&stage.peer)?);
        let mut number = 0;
        let ratio = stage.by_turns(rounds, |caller| {
            number += 1;
            let own = caller.program == stage.ours.program;
            let pod = if own { &mut ours } else { &mut peer };
            probe(&mut pod.shim, &pod.made.id, number)
        });
        ours.end()?;
        peer.end()?;
        ratio
    })
}

/// What 50 pods take of the processors when each is probed by an exec once a second: of all that the shim does, with the process itself.
pub fn cpu_of_probes(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let (pods, seconds) = if bench.quick { (10, 5) } else { (50, 20) };
        let used = |caller: &Caller, name: &str| -> Result<f64, Failure> {
            Account::open(&format!("{}/{name}", bench.test.token))?;
            let caller = Caller {
                cgroup: Some(format!("/{}/{name}", bench.test.token)),
                ..caller.clone()
            };
            let pods = (0..pods).map(|_| stage.pod(&caller));
            let pods = pods.collect::<Result<Vec<Pod>, Failure>>()?;
            let all = Account::open(&bench.test.token)?;
            let (before, since) = (all.seconds()?, Instant::now());
            let execs = probes(&pods, seconds)?;
            let (used, wall) = (all.seconds()? - before, since.elapsed().as_secs_f64());
            println!(
                "    {name}: {:.1} % of a processor at {:.1} execs a second",
                used / wall * 100.0,
                f64::from(execs) / wall
            );
            pods.into_iter().try_for_each(Pod::end)?;
            Ok(used / f64::from(execs))
        };
        let (peer, ours) = (used(&stage.peer, "runcs")?, used(&stage.ours, "ours")?);
        println!(
            "    ms an exec: runc's {:.2}, ours {:.2}",
            peer * 1e3,
            ours * 1e3
        );
        Ok(ours / peer)
    })
}

/// Probes every pod once a second, at moments spread over it, by four threads. A shim that is too slow gets fewer.
fn probes(pods: &[Pod], seconds: u32) -> Result<u32, Failure> {
    let count = u32::try_from(pods.len())?;
    let next = AtomicU32::new(0);
    let since = Instant::now();
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_secs(1) / count * number;
                if due >= Duration::from_secs(seconds.into())
                    || since.elapsed().as_secs() > u64::from(seconds)
                {
                    return Ok(());
                }
                std::thread::sleep(due.saturating_sub(since.elapsed()));
                let pod = &pods[(number % count) as usize];
                probe(&mut pod.shim.again()?, &pod.made.id, number)?;
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(joined)
    })?;
    Ok(done.into_inner())
}

/// The processor time of a cgroup and all below it.
struct Account(PathBuf);

impl Account {
    /// Makes the cgroup where processor time is accounted: a shim joins it there only.
    fn open(path: &str) -> Result<Account, Failure> {
        let file = if cgroups::unified() {
            "cpu.stat"
        } else {
            "cpuacct.usage"
        };
        let accounts = |hierarchy: &PathBuf| hierarchy.join(file).is_file();
        let hierarchy = cgroups::hierarchies()?.into_iter().find(accounts);
        let hierarchy =
            hierarchy.ok_or_else(|| Failure::skip("needs processor time of cgroups"))?;
        let dir = hierarchy.join(path);
        fs::create_dir_all(&dir)?;
        Ok(Account(dir))
    }

    fn seconds(&self) -> Result<f64, Failure> {
        match fs::read_to_string(self.0.join("cpuacct.usage")) {
            Ok(nanoseconds) => Ok(nanoseconds.trim().parse::<f64>()? / 1e9),
            Err(_) => {
                let text = fs::read_to_string(self.0.join("cpu.stat"))?;
                let line = text
                    .lines()
                    .find_map(|line| line.strip_prefix("usage_usec "));
                Ok(line.unwrap_or_default().parse::<f64>()? / 1e6)
            }
        }
    }
}

/// What the shim grows by between its 1,000th and its 100,000th exec, in kB. The stock shim does a part of it beside.
pub fn growth(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let grown = |caller: &Caller, name: &str, first: u32, last: u32| -> Result<f64, Failure> {
            let mut pod = stage.pod(caller)?;
            let pid = pod.shim.pid(&pod.made.id)?.unsigned_abs();
            let mut memory = |from: u32, to: u32| -> Result<f64, Failure> {
                for number in from..to {
                    probe(&mut pod.shim, &pod.made.id, number)?;
                }
                std::thread::sleep(Duration::from_millis(500));
                smaps(pid, "Rss")
            };
            let before = memory(0, first)?;
            let after = memory(first, last)?;
            println!("    {name}: RSS {before} kB after {first} execs, {after} kB after {last}");
            pod.end()?;
            Ok(after - before)
        };
        grown(&stage.peer, "runc's", 20, 200)?;
        let last = if bench.quick { 5_000 } else { 100_000 };
        Ok(grown(&stage.ours, "ours", 1_000, last)?.max(0.0))
    })
}

/// Bytes in the gigabyte of output.
const OUTPUT: u64 = 1 << 30;

/// A gigabyte through stdout: the time of it.
pub fn output_time(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let rounds = if bench.quick { 1 } else { 5 };
        stage.by_turns(rounds, |caller| {
            let (bytes, time) = output(stage, caller)?;
            match bytes {
                OUTPUT => Ok(time),
                bytes => Err(Failure::new(format!("{bytes} bytes came through"))),
            }
        })
    })
}

/// The same: the bytes that are missing.
pub fn output_lost(bench: &Bench) -> Result<f64, Failure> {
    on_stage(bench, |stage| {
        let lost = |caller: &Caller| -> Result<u32, Failure> {
            let bytes = output(stage, caller)?.0;
            Ok(u32::try_from(bytes.abs_diff(OUTPUT)).unwrap_or(u32::MAX))
        };
        println!("    runc's: {}", lost(&stage.peer)?);
        let mut all = 0;
        for _ in 0..3 {
            all = lost(&stage.ours)?.max(all);
        }
        Ok(f64::from(all))
    })
}

/// Bytes that came out, and the seconds from `start` to the last of them.
fn output(stage: &Stage, caller: &Caller) -> Result<(u64, f64), Failure> {
    let made = stage.bundle(&["dd", "if=/dev/zero", "bs=65536", "count=16384"])?;
    let [fifo, stderr] = ["stdout", "stderr"].map(|name| made.bundle.join(name));
    for fifo in [&fifo, &stderr] {
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    }
    let open = |fifo: &Path| {
        let mut options = fs::OpenOptions::new();
        options.read(true).custom_flags(libc::O_NONBLOCK).open(fifo)
    };
    let (mut reader, _stderr) = (open(&fifo)?, open(&stderr)?);
    let mut shim = caller.start(&made.bundle, &made.id)?;
    let stdio = Stdio3 {
        stdout: Some(&fifo),
        stderr: Some(&stderr),
    };
    shim.create(&made.bundle, &made.id, stdio)?;
    let pid = shim.pid(&made.id)?;
    let ended = AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        let since = Instant::now();
        let ended = &ended;
        let thread = scope.spawn(move || {
            drain(&mut reader, ended).map(|bytes| (bytes, since.elapsed().as_secs_f64()))
        });
        let mut life = || -> Result<(), Failure> {
            shim.start(&made.id, "")?;
            shim.wait(&made.id, "")?;
            // The output is complete when this is answered.
            shim.delete(&made.id, "")?;
            Ok(())
        };
        let life = life();
        ended.store(true, Ordering::Release);
        let drained = thread
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?;
        life.and(drained)
    })?;
    shim.shutdown(&made.id, pid)?;
    Ok(result)
}

/// Reads to the last byte: all have come, or the container is deleted and nothing is there.
fn drain(reader: &mut fs::File, ended: &AtomicBool) -> Result<u64, Failure> {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    while bytes < OUTPUT {
        let last = ended.load(Ordering::Acquire);
        match reader.read(&mut buffer) {
            Ok(0) if last => break,
            // Nobody writes yet.
            Ok(0) => std::thread::sleep(Duration::from_millis(1)),
            Ok(count) => bytes += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if last {
                    break;
                }
                let mut fds = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(50u8))?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}

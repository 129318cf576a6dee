//! `events`: the shape and the values of readings, the stream and its ends. That a kill for want of memory shows is among the limits.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::cgroups::{self, Version};
use garboard_integration_tests::container::{Container, wait_until};
use garboard_integration_tests::loop_device::LoopDevice;
use garboard_integration_tests::runtime::{DEADLINE, Runtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};

pub fn cases() -> Vec<Case> {
    cases![
        one_reading_has_the_documented_shape,
        a_reading_holds_what_the_files_say,
        a_reading_has_the_shape_of_runcs,
        a_reading_of_io,
        absent_controllers_read_as_zero,
        the_stream_ends_with_the_container,
        the_stream_ends_with_its_reader,
        the_stream_ends_on_a_signal,
        a_slow_reader_misses_readings_only,
        the_stream_needs_a_memory_controller,
        intervals_are_durations,
        a_stopped_container_is_said_to_not_run,
        a_container_that_is_only_created_has_events,
    ]
}

fn running(t: &Test) -> Result<Container<'_>, Failure> {
    let c = t.container(&Bundle::sleeper())?;
    c.run_detached()?;
    Ok(c)
}

/// The text of a reading, and the reading.
fn reading(c: &Container<'_>) -> Result<(String, Value), Failure> {
    let out = c.call("events", &["--stats"], &[])?.success()?;
    let text = out.stdout();
    assert!(
        text.ends_with("}\n") && text.lines().count() == 1,
        "{text:?}"
    );
    Ok((text, out.json()?))
}

fn members(value: &Value) -> Vec<&str> {
    let keys = value.as_object().map(Map::keys);
    keys.into_iter().flatten().map(String::as_str).collect()
}

fn one_reading_has_the_documented_shape(t: &Test) -> Done {
    let c = running(t)?;
    let (text, event) = reading(&c)?;
    let begin = format!(
        "{{\"type\":\"stats\",\"id\":\"{}\",\"data\":{{\"cpu\":{{\"usage\":{{",
        c.id
    );
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.ends_with(",\"network_interfaces\":null}}\n"), "{text}");
    let data = &event["data"];
    let mut at = 0;
    for key in [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
    ] {
        assert!(data[key].is_object(), "{key}: {text}");
        let found = text.find(&format!("\"{key}\":{{")).unwrap_or(0);
        assert!(found > at, "{key} is not in runc's place: {text}");
        at = found;
    }
    for key in ["usage", "swap", "kernel", "kernelTCP"] {
        assert!(data["memory"][key]["limit"].is_u64(), "{key}: {text}");
        assert!(data["memory"][key]["failcnt"].is_u64(), "{key}: {text}");
    }
    assert!(data["cpu"]["usage"]["kernel"].is_u64() && data["cpu"]["usage"]["user"].is_u64());
    assert_eq!(data["pids"]["current"], 1);
    assert_eq!(
        data["pids"].get("limit"),
        None,
        "no limit is left out: {text}"
    );
    Ok(())
}

fn a_reading_holds_what_the_files_say(t: &Test) -> Done {
    let version = t.controller("memory")?;
    let bundle = Bundle::sleeper()
        .set("/linux/resources/memory", json!({"limit": 64 << 20}))
        .set("/linux/resources/pids", json!({"limit": 32}))
        .set(
            "/linux/resources/cpu",
            json!({"quota": 50_000, "period": 100_000}),
        );
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let (text, event) = reading(&c)?;
    let data = &event["data"];
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20, "{text}");
    assert_eq!(data["pids"], json!({"current": 1, "limit": 32}));
    let usage = data["memory"]["usage"]["usage"].as_u64().unwrap_or(0);
    assert!(usage > 0 && usage < 64 << 20, "{text}");
    // Every line of memory.stat is there, and nothing else.
    let stat = c.control("memory.stat")?;
    let mut keys: Vec<&str> = stat
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    keys.sort_unstable();
    let mut raw = members(&data["memory"]["raw"]);
    raw.sort_unstable();
    assert_eq!(raw, keys);
    let total = data["cpu"]["usage"]["total"].as_u64().unwrap_or(0);
    match version {
        Version::V1 => {
            let now = c.control("cpuacct.usage")?.parse::<u64>()?;
            assert!(total > 0 && total <= now, "{total} of {now}");
            let cpus: Vec<u64> = serde_json::from_value(data["cpu"]["usage"]["percpu"].clone())?;
            assert_eq!(cpus.iter().sum::<u64>(), total);
            assert_eq!(data["cpuset"]["sched_relax_domain_level"], -1);
        }
        Version::V2 => {
            let now = c.counter("cpu.stat", "usage_usec")? * 1000;
            assert!(total > 0 && total <= now, "{total} of {now}");
            // Memory is in it.
            let swap = &data["memory"]["swap"]["usage"];
            assert!(swap.as_u64().unwrap_or(0) >= usage, "{text}");
        }
    }
    Ok(())
}

/// The path of each member but PSI, which runc 1.1 does not have yet, with the kind of its value.
fn shape(value: &Value, path: &str, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter().filter(|(key, _)| *key != "psi") {
                shape(value, &format!("{path}.{key}"), into);
            }
            if object.keys().all(|key| key == "psi") {
                into.push(format!("{path} {{}}"));
            }
        }
        Value::Array(items) => {
            let first = items.first().unwrap_or(&Value::Null);
            shape(first, &format!("{path}[]"), into);
        }
        Value::Number(_) => into.push(format!("{path} number")),
        other => into.push(format!("{path} {other}")),
    }
}

/// The order in which the keys of `text` stand.
fn keys_in_order(text: &str) -> Vec<&str> {
    text.split('"')
        .skip(1)
        .step_by(2)
        .zip(text.split('"').skip(2).step_by(2))
        .filter(|(_, next)| next.starts_with(':'))
        .map(|(key, _)| key)
        .collect()
}

/// The same container bundle, once under each runtime, key by key and in order. What is left out when it is 0, and a peak that runc 1.1 does not
/// read yet, is set aside.
fn a_reading_has_the_shape_of_runcs(t: &Test) -> Done {
    let runc = Runtime {
        program: "/usr/sbin/runc".into(),
        root: t.dir.join("runc"),
        ..t.runtime.clone()
    };
    if !runc.program.is_file() {
        return Err(Failure::skip("there is no runc to compare with"));
    }
    // In the host's cgroup namespace runc's mount of cgroup2 would change the options of the host's own.
    let bundle = Bundle::sleeper()
        .without("/process/rlimits")
        .namespace("cgroup", None);
    let (ours, theirs) = (t.container(&bundle)?, t.container(&bundle)?);
    ours.run_detached()?;
    let mut launch = runc.command(["run", "--detach", "--bundle"]);
    launch.arg(&theirs.bundle).arg(&theirs.id);
    runc.finish(launch)?.success()?;
    let compared = (|| -> Result<_, Failure> {
        let (text, event) = reading(&ours)?;
        let out = runc
            .call(["events", "--stats", theirs.id.as_str()])?
            .success()?;
        Ok((text, event, out.stdout(), out.json()?))
    })();
    runc.call(["delete", "--force", theirs.id.as_str()])?
        .success()?;
    let (text, event, their_text, their_event) = compared?;
    let aside = |name: &str| {
        // runc reads its own program off the disk from within the container's cgroup.
        let own = name.starts_with(".blkio") || name.contains(".memory.usage.max");
        let left_out = [".usage number", ".max number", ".cache number"];
        own || left_out.iter().any(|end| name.ends_with(end))
    };
    let shapes = [event, their_event].map(|event| {
        let mut names = Vec::new();
        shape(&event["data"], "", &mut names);
        names.retain(|name| !aside(name));
        names
    });
    assert_eq!(shapes[0], shapes[1], "\n{text}\n{their_text}");
    let optional = [
        "psi",
        "some",
        "full",
        "avg10",
        "avg60",
        "avg300",
        "total",
        "usage",
        "max",
        "cache",
        "ioServiceBytesRecursive",
        "ioServicedRecursive",
        "major",
        "minor",
        "op",
        "value",
    ];
    let orders = [&text, &their_text].map(|text| {
        let mut keys = keys_in_order(text);
        keys.retain(|key| !optional.contains(key));
        keys
    });
    assert_eq!(orders[0], orders[1]);
    Ok(())
}

/// What was written to a device shows as v1's operations. v1 counts only where there is a limit.
fn a_reading_of_io(t: &Test) -> Done {
    let unified = cgroups::unified();
    t.controller(if unified { "io" } else { "blkio" })?;
    let device = LoopDevice::attach(&t.dir, 8 << 20)?;
    let (major, minor) = device.number;
    let node = json!([{"path": "/dev/disk", "type": "b", "major": major, "minor": minor}]);
    let rule = json!({"allow": true, "type": "b", "major": major, "minor": minor, "access": "rw"});
    let rate = json!([{"major": major, "minor": minor, "rate": 1 << 30}]);
    let bundle = Bundle::shell("/bin/probe write /dev/disk 3145728; exec sleep 1000")
        .set("/linux/devices", node)
        .set("/linux/resources/devices/-", rule)
        .set(
            "/linux/resources/blockIO",
            json!({"throttleWriteBpsDevice": rate}),
        );
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let mut seen = String::new();
    let written = |entry: &Value| {
        let number = |key: &str| entry[key].as_u64().unwrap_or(0);
        let device = (number("major"), number("minor")) == (major, minor);
        device && entry["op"] == "Write" && number("value") >= 3 << 20
    };
    wait_until("the bytes", || {
        let (text, event) = reading(&c)?;
        seen = text;
        let entries = event["data"]["blkio"]["ioServiceBytesRecursive"]
            .as_array()
            .cloned();
        Ok(entries.unwrap_or_default().iter().any(written))
    })
    .map_err(|failure| Failure::new(format!("{failure}: {seen}")))?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn absent_controllers_read_as_zero(t: &Test) -> Done {
    if t.controller("memory").is_ok() {
        return Err(Failure::skip("there is a memory controller"));
    }
    let c = t.container(&Bundle::shell("sleep 1001 & exec sleep 1002"))?;
    c.run_detached()?;
    wait_until("two processes", || {
        Ok(reading(&c)?.1["data"]["pids"] == json!({"current": 2}))
    })?;
    let (text, event) = reading(&c)?;
    let data = &event["data"];
    assert_eq!(
        data["memory"]["usage"],
        json!({"limit": 0, "failcnt": 0}),
        "{text}"
    );
    assert_eq!(
        data["memory"]["swap"],
        json!({"limit": 0, "failcnt": 0}),
        "{text}"
    );
    assert_eq!(data["memory"].get("raw"), None, "{text}");
    assert!(
        data["cpu"]["usage"]["total"].as_u64().unwrap_or(0) > 0,
        "cpu.stat needs no controller: {text}"
    );
    assert!(
        data["cpu"]["psi"]["some"]["avg10"].is_number(),
        "nor does PSI: {text}"
    );
    if t.controller("hugetlb").is_ok() {
        assert_eq!(data["hugetlb"]["2MB"], json!({"failcnt": 0}), "{text}");
    }
    Ok(())
}

/// `events` with its output in a pipe.
struct Stream {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Stream {
    fn open(mut command: Command) -> Result<Stream, Failure> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("no pipe"))?;
        let lines = BufReader::new(stdout).lines();
        Ok(Stream { child, lines })
    }

    fn event(&mut self) -> Result<Value, Failure> {
        let line = self
            .lines
            .next()
            .ok_or_else(|| Failure::new("the stream has ended"))??;
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits for the end; kills what does not end.
    fn end(&mut self) -> Result<std::process::ExitStatus, Failure> {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                self.child.kill()?;
                self.child.wait()?;
                return Err(Failure::new("events does not end"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn stream<'t>(t: &'t Test, flags: &[&str]) -> Result<(Container<'t>, Stream), Failure> {
    t.controller("memory")?;
    let c = running(t)?;
    let events = Stream::open(c.command("events", flags, &[]))?;
    Ok((c, events))
}

fn the_stream_ends_with_the_container(t: &Test) -> Done {
    t.not_for_runc("on v1 the stream goes on until the cgroup is removed")?;
    let (c, mut events) = stream(t, &["--interval=50ms"])?;
    let first = Instant::now();
    for _ in 0..4 {
        let event = events.event()?;
        assert_eq!(
            (&event["type"], &event["id"]),
            (&json!("stats"), &json!(c.id))
        );
    }
    assert!(
        first.elapsed() >= Duration::from_millis(100),
        "it keeps to the interval"
    );
    c.kill("KILL")?;
    assert!(events.end()?.success());
    // Not yet deleted: it is the end of the processes that counts.
    c.await_status("stopped")?;
    c.delete()?;
    Ok(())
}

fn the_stream_ends_with_its_reader(t: &Test) -> Done {
    t.not_for_runc("it finds out at its next write")?;
    let (_c, mut events) = stream(t, &["--interval", "50ms"])?;
    events.event()?;
    let Stream { child, lines } = events;
    drop(lines);
    let mut events = Stream {
        child,
        lines: BufReader::new(empty_pipe()?).lines(),
    };
    assert!(events.end()?.success());
    // With nothing to write before the test is over.
    let (_c, events) = stream(t, &["--interval", "1h"])?;
    let Stream { child, lines } = events;
    std::thread::sleep(Duration::from_millis(100));
    drop(lines);
    let mut events = Stream {
        child,
        lines: BufReader::new(empty_pipe()?).lines(),
    };
    assert!(events.end()?.success());
    Ok(())
}

fn empty_pipe() -> Result<std::process::ChildStdout, Failure> {
    let (reader, _) = nix::unistd::pipe()?;
    Ok(reader.into())
}

fn the_stream_ends_on_a_signal(t: &Test) -> Done {
    use std::os::unix::process::ExitStatusExt;
    let (c, mut events) = stream(t, &["--interval", "50ms"])?;
    events.event()?;
    kill(
        Pid::from_raw(events.child.id().cast_signed()),
        Signal::SIGTERM,
    )?;
    assert_eq!(events.end()?.signal(), Some(Signal::SIGTERM as i32));
    assert_eq!(c.status()?, "running");
    Ok(())
}

/// A reader that reads nothing for a while finds whole lines in the pipe, and the end of the container is no matter of how much it has read.
fn a_slow_reader_misses_readings_only(t: &Test) -> Done {
    t.not_for_runc("it queues a thousand readings, and then stops")?;
    let (c, mut events) = stream(t, &["--interval", "1ms"])?;
    events.event()?;
    let asleep = |pid: u32| -> Result<bool, Failure> {
        // Sleeps in poll for a pipe that is full, and uses no processor time.
        let ticks = || -> Result<String, Failure> {
            let mut text = String::new();
            File::open(format!("/proc/{pid}/stat"))?.read_to_string(&mut text)?;
            let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split(' ').collect();
            Ok(fields[12..14].join(" "))
        };
        let before = ticks()?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(ticks()? == before)
    };
    wait_until("a full pipe", || asleep(events.child.id()))?;
    c.kill("KILL")?;
    c.await_status("stopped")?;
    let mut count = 0;
    for line in events.lines.by_ref() {
        let event: Value = serde_json::from_str(&line?)?;
        assert_eq!(event["type"], "stats");
        count += 1;
    }
    // A pipe holds 64 KiB.
    assert!((5..200).contains(&count), "{count} lines");
    assert!(events.end()?.success());
    Ok(())
}

fn the_stream_needs_a_memory_controller(t: &Test) -> Done {
    if t.controller("memory").is_ok() {
        return Err(Failure::skip("there is a memory controller"));
    }
    let c = running(t)?;
    c.call("events", &[], &[])?
        .exits_with(1)?
        .fails_with("unable to add inotify watch: no such file or directory")?;
    Ok(())
}

fn intervals_are_durations(t: &Test) -> Done {
    let c = running(t)?;
    for bad in ["5", "x", "1d", "", "1s "] {
        c.call("events", &["--stats", &format!("--interval={bad}")], &[])?
            .exits_with(1)?
            .fails_with("for flag -interval: parse error")?;
    }
    for bad in ["0", "0s", "-1s"] {
        c.call("events", &["--stats", &format!("--interval={bad}")], &[])?
            .exits_with(1)?
            .fails_with("duration interval must be greater than 0")?;
    }
    for good in ["1.5h", "-interval=2m30s", "292y"] {
        let flag = match good {
            "292y" => "--interval=2562047h47m16.854775807s".to_owned(),
            good if good.starts_with('-') => good.to_owned(),
            good => format!("--interval={good}"),
        };
        c.call("events", &[&flag], &["--stats"])?.success()?;
    }
    Ok(())
}

fn a_stopped_container_is_said_to_not_run(t: &Test) -> Done {
    let c = t.container(&Bundle::args(["true"]))?;
    c.create()?;
    c.start()?;
    c.await_status("stopped")?;
    let wanted = format!("container with id {} is not running", c.id);
    for flags in [&["--stats"][..], &[]] {
        c.call("events", flags, &[])?
            .exits_with(1)?
            .fails_with(&wanted)?;
    }
    t.runtime
        .call(["events", "nobody"])?
        .exits_with(1)?
        .fails_with("container does not exist")?;
    Ok(())
}

fn a_container_that_is_only_created_has_events(t: &Test) -> Done {
    let c = t.container(&Bundle::sleeper())?;
    c.create()?;
    // runc's waiting process has some threads.
    let (text, event) = reading(&c)?;
    assert!(
        event["data"]["pids"]["current"].as_u64() >= Some(1),
        "{text}"
    );
    Ok(())
}

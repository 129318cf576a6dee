//! Where output goes: fifos that a client reads or no longer reads, files, a program that takes the log; all of it, and before the exit is told.

use std::fs;
use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::container::wait_until;
use garboard_integration_tests::engine::containerd::{Containerd, DEADLINE};
use garboard_integration_tests::engine::events::Events;
use garboard_integration_tests::engine::{Door, Engine};
use garboard_integration_tests::{engine_cases, processes};

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        a_log_file_gets_both_streams,
        a_log_program_gets_both_streams,
        large_output_is_whole,
        output_is_drained_before_the_end_is_told,
        a_child_that_keeps_stdout_open_delays_the_end_by_seconds,
        a_client_that_is_gone_blocks_nothing,
    ))
}

/// How much goes through stdout: a gigabyte where everything is tested.
fn large() -> u64 {
    let all = std::env::var_os("GARBOARD_TEST_ALL").is_some();
    if all { 1 << 30 } else { 100 << 20 }
}

fn a_log_file_gets_both_streams(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let file = engine.test.dir.join("logs-of-one/log");
    let uri = format!("file://{}", file.display());
    let script = "echo out; echo err >&2; exit 3";
    let flags = ["--log-uri", &uri];
    let c = containerd.detached(&flags, "one", &["sh", "-c", script])?;
    c.await_status("STOPPED")?;
    assert_eq!(c.delete()?, 3);
    // The stock shim of containerd 1.6 closes the file when the first of the two streams ends.
    let text = fs::read_to_string(&file)?;
    assert!(text.contains("out\n"), "{text}");
    assert!(
        engine.door != Door::Shim || text.contains("err\n"),
        "{text}"
    );
    // What is there stays there.
    let c = containerd.detached(&flags, "two", &["echo", "more"])?;
    c.await_status("STOPPED")?;
    c.delete()?;
    assert_eq!(fs::read_to_string(&file)?, text + "more\n");
    assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o644);
    let c = containerd.detached(&["--null-io"], "three", &["sleep", "1000"])?;
    let flags = ["--log-uri", &uri, "--detach"];
    c.exec("e", &flags, &["echo", "of an exec"])?.success()?;
    wait_until("the exec's line", || {
        Ok(fs::read_to_string(&file)?.ends_with("of an exec\n"))
    })?;
    c.end()
}

fn a_log_program_gets_both_streams(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let dir = engine.test.scratch("taken")?;
    let program = engine.bin.join("logger");
    // It is told of the container, and says that it is ready by closing descriptor 5. At the end it may get a SIGTERM before it has read all.
    let script = format!(
        "#!/bin/busybox sh\ntrap '' TERM\ncd {}\necho \"$CONTAINER_ID $CONTAINER_NAMESPACE $*\" > about\nexec 5>&-\n\
         /bin/busybox cat <&3 > out &\n/bin/busybox cat <&4 > err\nwait\necho done > end\n",
        dir.display()
    );
    fs::write(&program, script)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let uri = format!("binary://{}?colour=green", program.display());
    let script = "seq 1 20000; echo err >&2; exit 3";
    let c = containerd.detached(&["--log-uri", &uri], "one", &["sh", "-c", script])?;
    c.await_status("STOPPED")?;
    assert_eq!(c.delete()?, 3);
    wait_until("the program's end", || Ok(dir.join("end").is_file()))?;
    let about = fs::read_to_string(dir.join("about"))?;
    assert_eq!(about, format!("one {} colour green\n", engine.test.token));
    let lines: Vec<String> = (1..=20000).map(|number| number.to_string()).collect();
    assert_eq!(
        fs::read_to_string(dir.join("out"))?,
        lines.join("\n") + "\n"
    );
    assert_eq!(fs::read_to_string(dir.join("err"))?, "err\n");
    Ok(())
}

fn large_output_is_whole(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let bytes = large();
    let script = format!("yes 0123456789abcde | head -c {bytes}; sync; exit 4");
    let since = Instant::now();
    let out = containerd
        .run_in_background(&["--rm"], "one", &["sh", "-c", &script])?
        .wait(DEADLINE * 2)?
        .exits_with(4)?;
    let took = since.elapsed();
    let mut file = BufReader::new(fs::File::open(out.stdout_file())?);
    assert_eq!(fs::metadata(out.stdout_file())?.len(), bytes);
    let mut line = [0; 16];
    for number in 0..bytes / 16 {
        file.read_exact(&mut line)?;
        assert_eq!(&line, b"0123456789abcde\n", "line {number}");
    }
    println!("{} MB in {} ms", bytes >> 20, took.as_millis());
    Ok(())
}

fn output_is_drained_before_the_end_is_told(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    for number in 0..10 {
        let id = format!("c{number}");
        let script = "seq 1 30000; echo last >&2; exit 6";
        let out = containerd
            .run(&["--rm"], &id, &["sh", "-c", script])?
            .exits_with(6)?;
        assert_eq!(out.lines().last().map(String::as_str), Some("30000"));
        assert_eq!(out.lines().len(), 30000);
        assert_eq!(out.stderr(), "last\n");
    }
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    for number in 0..10 {
        let script = "seq 1 30000; exit 6";
        let out = c
            .exec(&format!("e{number}"), &[], &["sh", "-c", script])?
            .exits_with(6)?;
        assert_eq!(out.lines().len(), 30000);
    }
    c.end()
}

fn a_child_that_keeps_stdout_open_delays_the_end_by_seconds(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    let events = Events::listen(&containerd)?;
    let script = "sleep 1000 & echo begun; exit 8";
    let since = Instant::now();
    let running = c.exec_in_background("e", &[], &["sh", "-c", script])?;
    events.expect("one", "exit e 8")?;
    let told = since.elapsed();
    assert!(
        told < Duration::from_secs(3),
        "the exit was told after {told:?}"
    );
    let out = running.wait(Duration::from_secs(30))?.exits_with(8)?;
    assert_eq!(out.stdout(), "begun\n");
    let took = since.elapsed();
    assert!(took < Duration::from_secs(14), "deleted after {took:?}");
    c.end()
}

/// The reader of a fifo ends without a word; the container writes on, and its end and that of others is told.
fn a_client_that_is_gone_blocks_nothing(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let host = engine.test.scratch("host")?;
    let mount = garboard_integration_tests::engine::containerd::bind_at_host(&host);
    let script = "touch /host/begun; while [ ! -e /host/go ]; do usleep 10000; done; \
                  head -c 1000000 /dev/zero & sleep 0.3; exit 9";
    let events = Events::listen(&containerd)?;
    let flags = ["--mount", mount.as_str()];
    let mut client = containerd.run_in_background(&flags, "one", &["sh", "-c", script])?;
    wait_until("the container to begin", || {
        Ok(host.join("begun").is_file())
    })?;
    client.child.kill()?;
    client.child.wait()?;
    client.forget();
    let c = containerd.task("one");
    let other = c.exec("e", &[], &["echo", "still here"])?.success()?;
    assert_eq!(other.stdout(), "still here\n");
    fs::write(host.join("go"), "")?;
    events.expect("one", "exit one 9")?;
    let since = Instant::now();
    assert_eq!(c.delete()?, 9);
    assert!(since.elapsed() < Duration::from_secs(15));
    assert!(
        processes::descendants()
            .iter()
            .all(|one| one.comm != "head")
    );
    Ok(())
}

//! Fifos, and what is no fifo where one is wanted.

use std::io::Write;
use std::os::unix::fs::MetadataExt;

use super::*;

#[test]
fn both_outputs_reach_their_fifos_and_end_with_the_process() {
    let place = Place::new();
    let (out, err) = (place.fifo("out"), place.fifo("err"));
    let opened = open(&place.request(["", &out, &err])).expect("opened");
    let (out, err) = (reader(&out), reader(&err));
    let child = process("read x || echo out; echo err >&2", opened.fds);
    let running = opened.streams.into_pumps(None).expect("pumps");
    assert!(running.stdin.is_none() && running.terminal.is_none());
    assert!(drive(running.pumps, Direction::Output).is_empty());
    assert_eq!(out.join().expect("read"), "out\n");
    assert_eq!(err.join().expect("read"), "err\n");
    succeeded(child);
}

#[test]
fn one_fifo_for_both_outputs_keeps_their_order() {
    let place = Place::new();
    let out = place.fifo("out");
    let opened = open(&place.request(["", &out, &out])).expect("opened");
    let read = reader(&out);
    let child = process(
        "for i in 1 2 3; do echo o$i; echo e$i >&2; done",
        opened.fds,
    );
    drive(
        opened.streams.into_pumps(None).expect("pumps").pumps,
        Direction::Output,
    );
    assert_eq!(read.join().expect("read"), "o1\ne1\no2\ne2\no3\ne3\n");
    succeeded(child);
}

#[test]
fn a_client_that_is_late_gets_what_a_short_process_wrote() {
    let place = Place::new();
    let out = place.fifo("out");
    let late = out.clone();
    let read = thread::spawn(move || {
        thread::sleep(std::time::Duration::from_millis(200));
        let mut all = String::new();
        client(&late).read_to_string(&mut all).expect("UTF-8");
        all
    });
    let patience = std::time::Duration::from_secs(10);
    let opened =
        crate::stdio::open::open_within(&place.request(["", &out, ""]), patience).expect("opened");
    let child = process("echo x", opened.fds);
    let pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
    drive(pumps, Direction::Output);
    succeeded(child);
    let until = std::time::Instant::now() + patience;
    while !read.is_finished() {
        assert!(std::time::Instant::now() < until, "it waits for a writer");
        thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(read.join().expect("read"), "x\n");
}

#[test]
fn what_is_written_is_unread_until_a_reader_has_it() {
    let place = Place::new();
    let out = place.fifo("out");
    let opened = open(&place.request(["", &out, ""])).expect("opened");
    let mut client = client(&out);
    let child = process("echo x", opened.fds);
    let mut pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
    let mut pump = pumps.remove(0);
    succeeded(child);
    while turn(&mut pump) != Progress::Done {}
    assert!(pump.is_unread() && pump.has_reader() && pump.is_unread());
    let mut line = [0; 2];
    client.read_exact(&mut line).expect("read");
    assert!(!pump.is_unread() && pump.has_reader());
    // It may be asked again at any time, and notices who goes.
    assert_eq!(turn(&mut pump), Progress::Done);
    drop(client);
    assert!(!pump.has_reader());
}

#[test]
fn nobody_reads_and_then_somebody_gets_everything() {
    const LINES: usize = 100_000;
    let place = Place::new();
    let out = place.fifo("out");
    let opened = open(&place.request(["", &out, ""])).expect("opened");
    let child = process(&format!("seq {LINES}"), opened.fds);
    let mut pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
    // No waiting for it: until both pipes are full it waits for its source.
    let full = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while turn(&mut pumps[0]) != Progress::Sink {
        assert!(std::time::Instant::now() < full, "never full");
        thread::yield_now();
    }
    // The first client takes a little and goes; the second gets the rest.
    let mut first = vec![0; 1000];
    client(&out).read_exact(&mut first).expect("read");
    let second = reader(&out);
    drive(pumps, Direction::Output);
    let mut all = String::from_utf8(first).expect("UTF-8");
    all += &second.join().expect("read");
    let wanted: String = (1..=LINES).map(|line| format!("{line}\n")).collect();
    assert!(all == wanted, "{} bytes of {}", all.len(), wanted.len());
    succeeded(child);
}

#[test]
fn only_a_loud_stream_gets_large_pipes() {
    let place = Place::new();
    let out = place.fifo("out");
    let size = |bytes: u64| {
        let opened = open(&place.request(["", &out, ""])).expect("opened");
        let mut client = client(&out);
        let size = client.try_clone().expect("another");
        let read = thread::spawn(move || std::io::copy(&mut client, &mut std::io::sink()));
        let child = process(&format!("head -c {bytes} /dev/zero"), opened.fds);
        // Slower than the process: its pipe is full each time.
        let mut pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
        while turn(&mut pumps[0]) != Progress::Done {
            thread::sleep(std::time::Duration::from_millis(2));
        }
        drop(pumps);
        assert_eq!(read.join().expect("joined").expect("read"), bytes);
        succeeded(child);
        rustix::pipe::fcntl_getpipe_size(&size).expect("a pipe")
    };
    assert_eq!(size(32 << 10), 64 << 10);
    assert_eq!(size(8 << 20), 256 << 10);
}

#[test]
fn stdin_outlives_its_clients_until_it_is_closed() {
    let place = Place::new();
    let (stdin, out) = (place.fifo("in"), place.fifo("out"));
    let opened = open(&place.request([&stdin, &out, ""])).expect("opened");
    let read = reader(&out);
    let child = process("cat", opened.fds);
    let mut running = opened.streams.into_pumps(None).expect("pumps");
    assert_eq!(running.pumps[0].direction(), Direction::Input);
    for text in ["one ", "two"] {
        writer(&stdin).write_all(text.as_bytes()).expect("written");
        assert_eq!(turn(&mut running.pumps[0]), Progress::Source);
    }
    // CloseIO while there is something to read yet.
    writer(&stdin).write_all(b" three").expect("written");
    drop(running.stdin.take());
    assert!(drive(running.pumps, Direction::Output).is_empty());
    assert_eq!(read.join().expect("read"), "one two three");
    succeeded(child);
}

#[test]
fn a_process_that_does_not_read_ends_its_stdin() {
    let place = Place::new();
    let stdin = place.fifo("in");
    let opened = open(&place.request([&stdin, "", ""])).expect("opened");
    let child = process("exec 0<&-", opened.fds);
    let mut running = opened.streams.into_pumps(None).expect("pumps");
    succeeded(child);
    writer(&stdin)
        .write_all(b"nobody reads this")
        .expect("written");
    assert_eq!(turn(&mut running.pumps[0]), Progress::Done);
}

#[test]
fn a_full_stdin_waits_for_its_process() {
    let place = Place::new();
    let stdin = place.fifo("in");
    let mut opened = open(&place.request([&stdin, "", ""])).expect("opened");
    let end = opened.fds[0].take().expect("a pipe");
    let mut running = opened.streams.into_pumps(None).expect("pumps");
    let mut client = writer(&stdin);
    let sent = thread::spawn(move || client.write_all(&[7; 1 << 20]));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while turn(&mut running.pumps[0]) != Progress::Sink {
        assert!(std::time::Instant::now() < until, "never full");
        thread::yield_now();
    }
    let taken = thread::spawn(move || {
        let mut taken = Vec::new();
        File::from(end).read_to_end(&mut taken).expect("read");
        taken
    });
    drop(running.stdin.take());
    drive(running.pumps, Direction::Input);
    sent.join().expect("joined").expect("written");
    assert!(taken.join().expect("joined") == vec![7; 1 << 20]);
}

#[test]
fn a_stream_that_a_child_holds_open_is_not_done() {
    let place = Place::new();
    let out = place.fifo("out");
    let opened = open(&place.request(["", &out, ""])).expect("opened");
    let read = reader(&out);
    let child = process("sleep 100 & echo $!", opened.fds);
    let mut pumps = opened.streams.into_pumps(None).expect("pumps").pumps;
    succeeded(child);
    assert_eq!(turn(&mut pumps[0]), Progress::Source);
    drop(pumps);
    let sleeper = read.join().expect("read").trim().parse().expect("a pid");
    let sleeper = rustix::process::Pid::from_raw(sleeper).expect("a pid");
    rustix::process::kill_process(sleeper, rustix::process::Signal::KILL).expect("killed");
}

#[test]
fn pipes_belong_to_whom_the_client_says() {
    let place = Place::new();
    let (stdin, out) = (place.fifo("in"), place.fifo("out"));
    let mut request = place.request([&stdin, &out, ""]);
    (request.io_uid, request.io_gid) = (1234, 5678);
    let opened = open(&request).expect("opened");
    let of = |fd: &Option<OwnedFd>| {
        let fd = fd
            .as_ref()
            .expect("a descriptor")
            .try_clone()
            .expect("another");
        let stat = File::from(fd).metadata().expect("stat");
        (stat.uid(), stat.gid())
    };
    assert_eq!(of(&opened.fds[0]), (1234, 5678));
    assert_eq!(of(&opened.fds[1]), (1234, 5678));
    assert_eq!(of(&opened.fds[2]), (0, 0), "/dev/null");
}

#[test]
fn what_cannot_be_opened_is_named() {
    let place = Place::new();
    let plain = place.text("plain");
    File::create_new(&plain).expect("a file");
    let out = place.fifo("out");
    let missing = place.text("missing");
    for (request, said) in [
        (["", "", missing.as_str()], format!("stderr: stat {missing}: No such file or directory (os error 2)")),
        ([&missing, "", ""], format!("stdin: open {missing}: No such file or directory (os error 2)")),
        ([&plain, "", ""], format!("stdin: {plain:?}: is not a fifo")),
        (["file:///x", "", ""], "stdin: \"file:///x\": a fifo is wanted".to_owned()),
        (
            ["", &out, "binary:///x"],
            "stderr: \"binary:///x\": a logging program is named in stdout, and has both".to_owned(),
        ),
        (
            ["", "tcp://x/y", ""],
            "stdout: \"tcp://x/y\": unknown scheme: a path, file://, binary:// or binary-v2:// is wanted".to_owned(),
        ),
    ] {
        let error = open(&place.request(request)).expect_err("refused");
        assert_eq!(error.to_string(), said);
    }
}

//! Events as containerd is sent them: each once, in an order, and none lost while containerd is away.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure};
use garboard_integration_tests::engine::Engine;
use garboard_integration_tests::engine::task_api::{Containerd, Refused, TTRPC, Task};
use garboard_integration_tests::engine_cases;

pub fn cases() -> Vec<Case> {
    let mut cases = engine_cases!([Runc, Shim](a_life_in_order, short_lives_in_order,));
    // The stock shim of containerd 1.6 tells in the order in which it learns, and what fails is overtaken by what comes later.
    cases.extend(engine_cases!([Shim](
        init_s_exit_is_the_last,
        short_execs_in_order,
        none_is_lost_while_containerd_is_away,
        containerd_dies_again_and_again,
        an_endpoint_that_does_not_answer_holds_nobody_up,
    )));
    cases
}

fn a_life_in_order(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let pid = task.init().state()?.pid;
    assert_eq!(task.exec_to_the_end("e", &["sh", "-c", "exit 4"])?, 4);
    task.end()?;
    containerd.endpoint.expect("one", "delete  137")?;
    let mut told = containerd.endpoint.of("one");
    // Some shims tell of an exec's deletion too.
    told.retain(|what| !what.starts_with("delete e"));
    let wanted = [
        "create",
        "start",
        "exec-added e",
        "exec-started e",
        "exit e 4",
        "exit one 137",
        "delete  137",
    ];
    assert_eq!(told, wanted);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    for told in containerd.endpoint.told() {
        assert_eq!(told.namespace, containerd.namespace());
        assert!(told.seconds.abs_diff(now.cast_signed()) < 60, "{told:?}");
        let of_init = ["create", "start", "exit one 137", "delete  137"];
        if of_init.contains(&told.what.as_str()) {
            assert_eq!(told.pid, pid, "{told:?}");
        }
    }
    containerd.shims_are_gone()
}

/// Processes that may have ended before anybody has said that they started.
fn short_lives_in_order(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    for number in 0..10 {
        let id = format!("c{number}");
        let script = format!("exit {number}");
        let task = containerd.task(&id, &Bundle::shell(&script))?;
        task.init().start()?;
        assert_eq!(task.init().wait()?, number);
        task.init().delete()?;
        task.shim.shutdown(&id)?;
        let last = format!("delete  {number}");
        containerd.endpoint.expect(&id, &last)?;
        let exit = format!("exit {id} {number}");
        let wanted = ["create", "start", &exit, &last];
        assert_eq!(containerd.endpoint.of(&id), wanted);
    }
    containerd.shims_are_gone()
}

fn short_execs_in_order(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let mut wanted = vec!["create".to_owned(), "start".to_owned()];
    for number in 0..50 {
        let exec = format!("e{number}");
        let script = format!("exit {number}");
        let status = task.exec_to_the_end(&exec, &["sh", "-c", &script])?;
        assert_eq!(status, number);
        wanted.push(format!("exec-added {exec}"));
        wanted.push(format!("exec-started {exec}"));
        wanted.push(format!("exit {exec} {number}"));
    }
    task.end()?;
    wanted.push("exit one 137".to_owned());
    wanted.push("delete  137".to_owned());
    containerd.endpoint.expect("one", "delete  137")?;
    assert_eq!(containerd.endpoint.of("one"), wanted);
    containerd.shims_are_gone()
}

/// With a pid namespace that ends with init, and with the host's, in which the rest has to be killed.
fn init_s_exit_is_the_last(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    for (id, bundle) in [
        ("own", Bundle::sleeper()),
        ("shared", Bundle::sleeper().without_namespace("pid")),
    ] {
        let task = containerd.task(id, &bundle)?;
        task.init().start()?;
        let execs = ["e1", "e2", "e3", "e4", "e5"];
        for exec in execs {
            task.exec(exec, &["sleep", "2000"])?.start()?;
        }
        task.init().kill(9)?;
        assert_eq!(task.init().wait()?, 137);
        let last = format!("exit {id} 137");
        containerd.endpoint.expect(id, &last)?;
        let mut exits = containerd.endpoint.of(id);
        exits.retain(|what| what.starts_with("exit"));
        assert_eq!(exits.len(), 6, "{exits:?}");
        assert_eq!(exits[5], last, "{exits:?}");
        for exec in execs {
            assert_eq!(task.process(exec).delete()?.exit_status, 137);
        }
        task.init().delete()?;
        task.shim.shutdown(id)?;
    }
    containerd.shims_are_gone()
}

fn none_is_lost_while_containerd_is_away(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    containerd.endpoint.expect("one", "start")?;
    let mut wanted = vec!["create".to_owned(), "start".to_owned()];
    for round in 0..3 {
        containerd.endpoint.stop();
        for number in 0..10 {
            let exec = format!("e{round}-{number}");
            assert_eq!(task.exec_to_the_end(&exec, &["true"])?, 0);
            wanted.push(format!("exec-added {exec}"));
            wanted.push(format!("exec-started {exec}"));
            wanted.push(format!("exit {exec} 0"));
        }
        containerd.endpoint.start_again()?;
        containerd
            .endpoint
            .expect("one", &format!("exit e{round}-9 0"))?;
    }
    assert_eq!(containerd.endpoint.of("one"), wanted);
    task.end()?;
    containerd.shims_are_gone()
}

/// Killed at any moment: what was on its way then may come twice, which nobody can help, and nothing out of its turn.
fn containerd_dies_again_and_again(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    let task = containerd.sleeper("one")?;
    let mut wanted = vec!["create".to_owned(), "start".to_owned()];
    for number in 0..100 {
        wanted.push(format!("exec-added e{number}"));
        wanted.push(format!("exec-started e{number}"));
        wanted.push(format!("exit e{number} 0"));
    }
    std::thread::scope(|scope| -> Done {
        let working = scope.spawn(|| {
            (0..100).try_for_each(|number| {
                let status = task.exec_to_the_end(&format!("e{number}"), &["true"])?;
                assert_eq!(status, 0);
                Ok::<(), Refused>(())
            })
        });
        while !working.is_finished() {
            containerd.endpoint.stop();
            std::thread::sleep(Duration::from_millis(3));
            containerd.endpoint.start_again()?;
            std::thread::sleep(Duration::from_millis(40));
        }
        let worked = working
            .join()
            .map_err(|_| Failure::new("a thread panicked"))?;
        Ok(worked?)
    })?;
    containerd.endpoint.expect("one", "exit e99 0")?;
    let mut told = containerd.endpoint.of("one");
    told.dedup();
    assert_eq!(told, wanted);
    task.end()?;
    containerd.shims_are_gone()
}

/// containerd stopped by a signal, or by a disk that hangs: it takes connections and reads nothing.
fn an_endpoint_that_does_not_answer_holds_nobody_up(engine: &Engine<'_>) -> Done {
    let mut containerd = Containerd::start(engine)?;
    containerd.endpoint.stop();
    let _silent = UnixListener::bind(TTRPC)?;
    let bundle = containerd.bundle("one", &Bundle::sleeper())?;
    let task = Task::new(containerd.shim("one", &bundle)?, "one", &bundle);
    task.create()?;
    task.init().start()?;
    let start = Instant::now();
    for number in 0..20 {
        task.exec_to_the_end(&format!("e{number}"), &["true"])?;
    }
    assert!(start.elapsed() < Duration::from_secs(10));
    task.end()?;
    let end = Instant::now();
    containerd.shims_are_gone()?;
    assert!(end.elapsed() < Duration::from_secs(8), "events hold it up");
    Ok(())
}

//! The events that engines live by: each once, and in an order.

use std::fs;

use garboard_integration_tests::case::{Case, Done};
use garboard_integration_tests::engine::containerd::{Containerd, bind_at_host};
use garboard_integration_tests::engine::events::Events;
use garboard_integration_tests::engine::{Door, Engine};
use garboard_integration_tests::engine_cases;

pub fn cases() -> Vec<Case> {
    engine_cases!([Runc, Command, Shim](
        a_life_in_order,
        an_exec_s_events_lie_within,
        init_s_exit_is_the_last,
        a_short_exec_s_start_is_told_before_its_exit,
        pause_and_resume_are_told,
        out_of_memory_is_told_before_the_exit,
    ))
}

fn a_life_in_order(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    for number in 0..5 {
        let id = format!("c{number}");
        let script = format!("exit {number}");
        containerd
            .run(&["--rm"], &id, &["sh", "-c", &script])?
            .exits_with(number)?;
        events.expect(&id, "delete")?;
        let wanted = ["create", "start", &format!("exit {id} {number}"), "delete"];
        assert_eq!(events.of(&id)?, wanted);
    }
    let told = events.of_tasks()?;
    let create = &told[0].message;
    let pid = create["pid"].as_u64().unwrap_or(0);
    assert!(pid > 0, "{create}");
    assert_eq!(told[1].message["pid"], pid);
    assert_eq!(told[2].message["pid"], pid);
    assert_eq!(told[3].message["pid"], pid);
    let bundle = containerd.bundle("c0");
    assert_eq!(create["bundle"], bundle.display().to_string());
    Ok(())
}

fn an_exec_s_events_lie_within(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    c.exec("e", &[], &["sh", "-c", "exit 4"])?.exits_with(4)?;
    c.end()?;
    events.expect("one", "delete")?;
    let mut told = events.of("one")?;
    // Some shims tell of an exec's deletion too.
    told.retain(|one| one != "delete e");
    let wanted = [
        "create",
        "start",
        "exec-added e",
        "exec-started e",
        "exit e 4",
        "exit one 137",
        "delete",
    ];
    assert_eq!(told, wanted);
    Ok(())
}

fn init_s_exit_is_the_last(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    for number in 0..3 {
        let id = format!("c{number}");
        let c = containerd.detached(&["--null-io"], &id, &["sleep", "1000"])?;
        for exec in ["e1", "e2", "e3", "e4", "e5"] {
            c.exec(exec, &["--detach"], &["sleep", "2000"])?.success()?;
        }
        c.call("kill", &["--signal", "KILL"])?;
        events.expect(&id, &format!("exit {id} 137"))?;
        for exec in ["e1", "e2", "e3", "e4", "e5"] {
            events.expect(&id, &format!("exit {exec} 137"))?;
        }
        let mut exits = events.of(&id)?;
        exits.retain(|one| one.starts_with("exit"));
        assert_eq!(exits.len(), 6, "{exits:?}");
        // The stock shim of containerd 1.6 tells in the order in which it learns.
        if engine.door == Door::Shim {
            assert_eq!(exits[5], format!("exit {id} 137"), "{exits:?}");
        }
        assert_eq!(c.delete()?, 137);
    }
    Ok(())
}

fn a_short_exec_s_start_is_told_before_its_exit(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    for number in 0..20 {
        let exec = format!("e{number}");
        c.exec(&exec, &[], &["true"])?.success()?;
    }
    events.expect("one", "exit e19 0")?;
    let mut told = events.of("one")?;
    told.retain(|one| !one.starts_with("delete"));
    let mut wanted = vec!["create".to_owned(), "start".to_owned()];
    for number in 0..20 {
        wanted.push(format!("exec-added e{number}"));
        wanted.push(format!("exec-started e{number}"));
        wanted.push(format!("exit e{number} 0"));
    }
    assert_eq!(told, wanted);
    c.end()
}

fn pause_and_resume_are_told(engine: &Engine<'_>) -> Done {
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    let c = containerd.detached(&["--null-io"], "one", &["sleep", "1000"])?;
    c.call("pause", &[])?;
    c.call("resume", &[])?;
    events.expect("one", "resumed")?;
    let wanted = ["create", "start", "paused", "resumed"];
    assert_eq!(events.of("one")?, wanted);
    c.end()
}

fn out_of_memory_is_told_before_the_exit(engine: &Engine<'_>) -> Done {
    engine.test.controller("memory")?;
    let containerd = Containerd::start(engine)?;
    let events = Events::listen(&containerd)?;
    let limit = ["--null-io", "--memory-limit", "33554432"];
    let c = containerd.detached(&limit, "one", &["/bin/probe", "allocate", "100000000"])?;
    events.expect("one", "exit one 137")?;
    events.expect("one", "oom")?;
    let told = events.of("one")?;
    if engine.door == Door::Shim {
        let at = |wanted: &str| told.iter().position(|one| one == wanted);
        assert!(at("oom") < at("exit one 137"), "{told:?}");
    }
    assert_eq!(c.delete()?, 137);
    // A child that is killed for it is told of while init lives.
    let host = engine.test.scratch("host")?;
    let mount = bind_at_host(&host);
    let script = "/bin/probe allocate 100000000; echo $? > /host/status; exec sleep 1000";
    let flags = ["--null-io", "--memory-limit", "33554432", "--mount", &mount];
    let c = containerd.detached(&flags, "two", &["sh", "-c", script])?;
    events.expect("two", "oom")?;
    assert_eq!(c.status()?, "RUNNING");
    garboard_integration_tests::container::wait_until("the child's status", || {
        Ok(fs::read_to_string(host.join("status")).is_ok_and(|text| text == "137\n"))
    })?;
    c.end()
}

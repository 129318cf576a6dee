//! What an observer is told of real containers, and in which order.

mod bundles;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bundles::Place;
use libcontainer::{
    CreateOptions, ErrorKind, Event, ExecFlags, ExecProcess, ExecRequest, ExitStatus, Runtime,
    Status, UpdateFlags, UpdateRequest,
};
use serde_json::json;

type Told = Arc<Mutex<Vec<(String, Event)>>>;

/// A runtime, and what it has told so far.
fn observed(place: &Place) -> (Runtime, Told) {
    let told = Told::default();
    let told_here = Arc::clone(&told);
    let runtime = Runtime::open(&place.root())
        .expect("state root")
        .observe(move |id, event| {
            let mut told = told_here.lock().expect("no panic");
            told.push((id.to_owned(), event.clone()));
        });
    (runtime, told)
}

/// What was told since the last call, all of it about `id`.
fn since(told: &Told, id: &str) -> Vec<Event> {
    let told = std::mem::take(&mut *told.lock().expect("no panic"));
    told.into_iter()
        .map(|(of, event)| {
            assert_eq!(of, id);
            event
        })
        .collect()
}

fn exec(args: &[&str]) -> ExecRequest {
    ExecRequest::new(ExecProcess::Flags(ExecFlags {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..ExecFlags::default()
    }))
}

#[test]
fn a_whole_life_is_told_in_order() {
    let place = Place::new("observe-life");
    let (runtime, told) = observed(&place);
    let mut config = place.config("olife", &["sleep", "1000"]);
    config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_OF_NOBODY"]);
    let bundle = place.bundle(&config);

    let container = runtime
        .create("olife", &bundle, &CreateOptions::default())
        .expect("create");
    let pid = container.pid();
    let [text] = container.warnings() else {
        panic!("not one warning: {:?}", container.warnings());
    };
    let text = text.clone();
    assert_eq!(
        since(&told, "olife"),
        [
            Event::IntentRecorded,
            Event::CgroupMade,
            Event::Launched { pid },
            Event::Ready { pid },
            Event::Warning { text: text.clone() },
            Event::Created,
        ]
    );
    container.start().expect("start");
    assert_eq!(since(&told, "olife"), [Event::Started]);
    container.start().expect_err("an already running container");
    assert_eq!(since(&told, "olife"), []);

    let executed = container.exec(exec(&["true"])).expect("exec");
    let pid = executed.pid();
    // The capability that nobody knows is missed here too.
    let warning = Event::Warning { text };
    assert_eq!(since(&told, "olife"), [Event::Executed { pid }, warning]);
    assert_eq!(executed.wait().expect("wait"), ExitStatus::Exited(0));
    container
        .exec(exec(&["no-such-program"]))
        .expect_err("no such program");
    assert_eq!(since(&told, "olife"), []);

    // A handle from another place of the program tells too.
    let same = runtime.container("olife").expect("container");
    same.kill(9, false).expect("kill");
    assert_eq!(since(&told, "olife"), [Event::Signaled { signal: 9 }]);
    assert_eq!(container.wait().expect("wait"), ExitStatus::Signaled(9));
    container.kill(15, true).expect("a stopped container");
    assert_eq!(since(&told, "olife"), []);

    runtime.delete("olife", false).expect("delete");
    assert_eq!(since(&told, "olife"), [Event::Deleted]);
    runtime.delete("olife", true).expect("nothing there");
    assert_eq!(since(&told, "olife"), []);
    assert_eq!(bundles::left_cgroups("olife"), Vec::<PathBuf>::new());
}

#[test]
fn pauses_and_updates_are_told_when_they_succeed() {
    let place = Place::new("observe-pause");
    let (runtime, told) = observed(&place);
    let bundle = place.bundle(&place.config("opause", &["sleep", "1000"]));
    let container = runtime
        .run("opause", &bundle, &CreateOptions::default())
        .expect("run");
    since(&told, "opause");

    container.pause().expect("pause");
    assert_eq!(since(&told, "opause"), [Event::Paused]);
    assert_eq!(container.state().expect("state").status, Status::Paused);
    let error = container.pause().expect_err("a paused container");
    assert_eq!(error.kind(), ErrorKind::WrongStatus);
    container.resume().expect("resume");
    assert_eq!(since(&told, "opause"), [Event::Resumed]);
    let error = container.resume().expect_err("a running container");
    assert_eq!(error.kind(), ErrorKind::WrongStatus);

    // Nothing to change, but changed.
    let nothing = UpdateRequest::Flags(Box::default());
    container.update(&nothing).expect("update");
    assert_eq!(since(&told, "opause"), [Event::Updated]);
    let wrong = UpdateRequest::Document(br#"{"memory": {"limit": "much"}}"#.to_vec());
    let error = container.update(&wrong).expect_err("no number");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let weight = UpdateFlags {
        blkio_weight: Some(1),
        ..UpdateFlags::default()
    };
    let error = container
        .update(&UpdateRequest::Flags(Box::new(weight)))
        .expect_err("too light");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let pointers = error.pointers();
    let [pointer] = pointers.as_slice() else {
        panic!("not one pointer: {pointers:?}");
    };
    assert_eq!(pointer.as_str(), "--blkio-weight");
    assert_eq!(since(&told, "opause"), []);
    container.delete().expect("delete");
    assert_eq!(since(&told, "opause"), [Event::Deleted]);
}

#[test]
fn run_is_told_as_started_and_the_handle_deletes() {
    let place = Place::new("observe-run");
    let (runtime, told) = observed(&place);
    let bundle = place.bundle(&place.config("orun", &["true"]));
    let container = runtime
        .run("orun", &bundle, &CreateOptions::default())
        .expect("run");
    let pid = container.pid();
    assert_eq!(
        since(&told, "orun"),
        [
            Event::IntentRecorded,
            Event::CgroupMade,
            Event::Launched { pid },
            Event::Ready { pid },
            Event::Started,
        ]
    );
    container.wait().expect("wait");
    container.delete().expect("delete");
    assert_eq!(since(&told, "orun"), [Event::Deleted]);
}

#[test]
fn a_failed_create_is_told_as_far_as_it_went() {
    let place = Place::new("observe-failed");
    let (runtime, told) = observed(&place);
    let create =
        |config| runtime.create("ofail", &place.bundle(&config), &CreateOptions::default());

    // In the stage: there is no such program.
    let error = create(place.config("ofail", &["/no-such-program"])).expect_err("no program");
    assert_eq!(error.kind(), ErrorKind::Refused);
    let events = since(&told, "ofail");
    let [
        Event::IntentRecorded,
        Event::CgroupMade,
        Event::Launched { pid },
        Event::Undone,
    ] = events.as_slice()
    else {
        panic!("{events:?}");
    };
    let gone = std::fs::metadata(format!("/proc/{pid}")).is_err();
    assert!(gone, "the process is there after Undone");
    assert_eq!(bundles::left_cgroups("ofail"), Vec::<PathBuf>::new());

    // Before anything is touched.
    let mut config = place.config("ofail", &["true"]);
    config["process"]["cwd"] = json!("relative");
    create(config).expect_err("a relative cwd");
    assert_eq!(since(&told, "ofail"), []);
    assert_eq!(runtime.list().expect("list").len(), 0);
}

#[test]
fn a_run_whose_poststart_hook_fails_leaves_nothing() {
    let place = Place::new("observe-poststart");
    let (runtime, told) = observed(&place);
    let mut config = place.config("opost", &["sleep", "1000"]);
    let ended = place.path().join("poststop");
    config["hooks"] = json!({
        "poststart": [{"path": "/bin/false"}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", format!("echo once >> {}", ended.display())]}]
    });
    let error = runtime
        .run("opost", &place.bundle(&config), &CreateOptions::default())
        .expect_err("a hook fails");
    assert_eq!(
        error.pointers()[0].as_str(),
        "config.json#/hooks/poststart/0"
    );
    let events = since(&told, "opost");
    assert_eq!(events[events.len() - 2..], [Event::Started, Event::Deleted]);
    assert_eq!(runtime.list().expect("list").len(), 0);
    assert_eq!(bundles::left_cgroups("opost"), Vec::<PathBuf>::new());
    let ran = std::fs::read_to_string(ended).expect("the poststop hook ran");
    assert_eq!(ran, "once\n");
}

#[test]
fn an_observer_may_look_at_other_containers_and_nobody_need_listen() {
    let place = Place::new("observe-look");
    let plain = Arc::new(Runtime::open(&place.root()).expect("state root"));
    let bundle = place.bundle(&place.config("olook", &["sleep", "1000"]));
    let other = plain
        .run("olook", &bundle, &CreateOptions::default())
        .expect("run");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (look, into) = (Arc::clone(&plain), Arc::clone(&seen));
    let runtime = Runtime::open(&place.root())
        .expect("state root")
        .observe(move |_, _| {
            let state = look.container("olook").and_then(|other| other.state());
            into.lock()
                .expect("no panic")
                .push(state.map(|state| state.status));
        });
    let bundle = place.bundle(&place.config("olook-2", &["true"]));
    let mine = runtime
        .run("olook-2", &bundle, &CreateOptions::default())
        .expect("run");
    mine.wait().expect("wait");
    mine.delete().expect("delete");
    let seen = seen.lock().expect("no panic");
    assert_eq!(seen.len(), 6);
    for status in seen.iter() {
        assert_eq!(status.as_ref().expect("state"), &Status::Running);
    }
    other.delete().expect("delete");
}

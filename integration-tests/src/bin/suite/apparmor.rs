//! AppArmor: a container's process runs under the profile that its configuration or the call names, and the profile is in force.
//!
//! Each case loads a profile of its own into the kernel and takes it out again. Only the guest has AppArmor.

use std::io::Write;
use std::process::{Command, Stdio};

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::Need;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        a_profile_confines_the_container,
        exec_is_confined_like_the_container,
        exec_names_a_profile_of_its_own,
        a_profile_that_is_not_loaded_is_refused,
        without_a_profile_nothing_is_confined,
        a_named_runtime_still_reaches_a_confined_container,
    ]
}

/// What a confined process says of itself and of a write that its profile denies.
const TELL: &str = "cat /proc/self/attr/current; touch /tmp/allowed && echo allowed; touch /tmp/denied 2>/dev/null || echo denied";

/// A profile that allows all but one file, for as long as this lives.
struct Profile {
    name: String,
    text: String,
}

impl Profile {
    fn load(t: &Test, name: &str) -> Result<Profile, Failure> {
        t.needs(&[Need::Root, Need::AppArmor])?;
        let name = format!("{}-{name}", t.token);
        let text = format!(
            "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
             file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,\ndeny /tmp/denied w,\n}}\n"
        );
        Profile::load_text(name, text)
    }

    fn load_text(name: String, text: String) -> Result<Profile, Failure> {
        let profile = Profile { name, text };
        if profile.parser("--add")? {
            Ok(profile)
        } else {
            Err(Failure::new("apparmor_parser refuses the profile"))
        }
    }

    fn parser(&self, action: &str) -> Result<bool, Failure> {
        let mut parser = Command::new("/sbin/apparmor_parser")
            .args([action, "--skip-cache", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = parser.stdin.take() {
            stdin.write_all(self.text.as_bytes())?;
        }
        Ok(parser.wait()?.success())
    }

    fn told(&self) -> String {
        format!("{} (enforce)\nallowed\ndenied\n", self.name)
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        let _ = self.parser("--remove");
    }
}

fn shell(script: &str) -> Bundle {
    Bundle::shell(script).writable()
}

fn a_profile_confines_the_container(t: &Test) -> Done {
    let profile = Profile::load(t, "one")?;
    for forbidden in [true, false] {
        let bundle = shell(TELL)
            .set("/process/apparmorProfile", json!(profile.name))
            .set("/process/noNewPrivileges", json!(forbidden));
        let out = t.container(&bundle)?.run_ok()?;
        assert_eq!(out.stdout(), profile.told(), "noNewPrivileges {forbidden}");
    }
    Ok(())
}

fn exec_is_confined_like_the_container(t: &Test) -> Done {
    let profile = Profile::load(t, "one")?;
    let bundle = shell("exec sleep 1000").set("/process/apparmorProfile", json!(profile.name));
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let seen = std::fs::read_to_string(format!("/proc/{}/attr/current", c.pid()?))?;
    assert_eq!(seen, format!("{} (enforce)\n", profile.name));
    let out = c.exec(&["sh", "-c", TELL])?.success()?;
    assert_eq!(out.stdout(), profile.told());
    Ok(())
}

fn exec_names_a_profile_of_its_own(t: &Test) -> Done {
    let (one, other) = (Profile::load(t, "one")?, Profile::load(t, "other")?);
    let bundle = shell("exec sleep 1000").set("/process/apparmorProfile", json!(one.name));
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let out = c
        .call("exec", &["--apparmor", &other.name], &["sh", "-c", TELL])?
        .success()?;
    assert_eq!(out.stdout(), other.told());
    let out = c.call("exec", &["--apparmor", "no-such-profile"], &["true"])?;
    out.exits_with(255)?.fails_with("no-such-profile")?;
    Ok(())
}

fn a_profile_that_is_not_loaded_is_refused(t: &Test) -> Done {
    t.needs(&[Need::AppArmor])?;
    let bundle = shell(TELL).set("/process/apparmorProfile", json!("no-such-profile"));
    let out = t.container(&bundle)?.run()?.exits_with(1)?;
    assert_eq!(out.stdout(), "");
    out.fails_with("no-such-profile")?
        .fails_with("apparmor profile")?;
    Ok(())
}

fn without_a_profile_nothing_is_confined(t: &Test) -> Done {
    t.needs(&[Need::AppArmor])?;
    let out = t
        .container(&shell("cat /proc/self/attr/current"))?
        .run_ok()?;
    assert_eq!(out.stdout(), "unconfined\n");
    Ok(())
}

/// Engines' profiles let signals in from `unconfined`, runc and crun; a runtime with a profile of its
/// own, such as the package brings, is none of them.
fn a_named_runtime_still_reaches_a_confined_container(t: &Test) -> Done {
    t.needs(&[Need::Root, Need::AppArmor])?;
    t.not_for_runc("the engines' profiles name runc; here nobody is named")?;
    let program = t.dir.join("named-runtime");
    std::fs::copy(&t.runtime.program, &program)?;
    let name = format!("{}-runtime", t.token);
    let text = format!(
        "profile {name} {} flags=(unconfined) {{\n}}\n",
        program.display()
    );
    let named = Profile::load_text(name, text)?;
    let name = format!("{}-engine", t.token);
    let text = format!(
        "profile {name} flags=(attach_disconnected,mediate_deleted) {{\n\
         file, capability, network, mount, umount, pivot_root,\nsignal (receive) peer=unconfined,\nsignal peer={name},\n}}\n"
    );
    let engine = Profile::load_text(name, text)?;
    let bundle = shell("trap 'exit 5' TERM; while :; do sleep 0.1; done")
        .set("/process/apparmorProfile", json!(engine.name));
    let c = t.container(&bundle)?;
    c.run_detached()?;
    let mut kill = Command::new(&program);
    kill.args(c.command("kill", &[], &["TERM"]).get_args());
    t.runtime.finish(kill)?.success()?;
    c.await_status("stopped")?;
    // In force, and so what the signal had to pass: exec, too, comes by that name.
    let mut exec = Command::new(&program);
    let words = ["cat", "/proc/1/attr/current"];
    c.delete()?;
    c.run_detached()?;
    exec.args(c.command("exec", &[], &words).get_args());
    let out = t.runtime.finish(exec)?.success()?;
    assert_eq!(out.stdout(), format!("{} (enforce)\n", engine.name));
    c.delete_force()?.success()?;
    drop(named);
    Ok(())
}

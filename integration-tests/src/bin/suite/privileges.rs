//! What the process may do: user, groups, capabilities, no-new-privileges, seccomp, keyring.

use garboard_integration_tests::bundle::Bundle;
use garboard_integration_tests::case::{Case, Done, Failure, Test};
use garboard_integration_tests::cases;
use garboard_integration_tests::needs::Need;
use serde_json::json;

pub fn cases() -> Vec<Case> {
    cases![
        the_user_and_groups_are_exactly_those_of_the_config,
        groups_of_the_caller_do_not_leak,
        a_numeric_name_in_passwd_is_not_followed,
        capabilities_are_exactly_those_of_the_config,
        no_capabilities_key_means_none,
        a_user_without_ambient_capabilities_has_none,
        ambient_capabilities_reach_a_user,
        an_unknown_capability_is_only_warned_of,
        no_new_privileges_is_set_and_unset,
        the_session_keyring_is_the_containers_own,
        no_new_keyring_keeps_the_callers,
        seccomp_is_off_without_a_profile,
        stdio_belongs_to_the_user,
    ]
}

fn the_user_and_groups_are_exactly_those_of_the_config(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    // Debian's runc refuses ids above 2^31.
    let high = if t.runtime.is_runc() {
        2_000_000_000
    } else {
        4_000_000_000_u32
    };
    let user = json!({"uid": 1000, "gid": 1001, "additionalGids": [5, 77, high]});
    let bundle = Bundle::probe().set("/process/user", user);
    let seen = t
        .container(&bundle.root(|root| root.file("etc/group", 0o644, "extra:x:99:user\n")))?
        .report()?;
    assert_eq!(seen.status("Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(seen.status("Gid"), "1001\t1001\t1001\t1001");
    let groups: Vec<&str> = seen.status("Groups").split_whitespace().collect();
    assert_eq!(groups, ["5", "77", high.to_string().as_str()]);
    Ok(())
}

fn groups_of_the_caller_do_not_leak(t: &Test) -> Done {
    t.needs(&[Need::Root])?;
    let c = t.container(&Bundle::probe())?;
    let mut command = std::process::Command::new("setpriv");
    command.args(["--groups", "7,8,9", "--"]);
    let run = c.run_command(&[]);
    command
        .arg(run.get_program())
        .args(run.get_args())
        .stdin(std::process::Stdio::null());
    let out = t.runtime.finish(command)?.success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    assert_eq!(seen.status("Groups"), "");
    Ok(())
}

fn a_numeric_name_in_passwd_is_not_followed(t: &Test) -> Done {
    let root = |bundle: Bundle| {
        bundle.root(|root| root.file("etc/passwd", 0o644, "1000:x:0:0::/evil:/bin/sh\n"))
    };
    let user = json!({"uid": 1000, "gid": 1000});
    let seen = t
        .container(&root(Bundle::probe()).set("/process/user", user))?
        .report()?;
    assert_eq!(seen.status("Uid"), "1000\t1000\t1000\t1000");
    Ok(())
}

const KILL: u64 = 1 << 5;

const NET_BIND_SERVICE: u64 = 1 << 10;

const AUDIT_WRITE: u64 = 1 << 29;

fn capabilities_are_exactly_those_of_the_config(t: &Test) -> Done {
    let seen = t.container(&Bundle::probe())?.report()?;
    let wanted = KILL | NET_BIND_SERVICE | AUDIT_WRITE;
    let got = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| seen.mask(name));
    assert_eq!(got, [wanted, wanted, wanted, 0, 0]);
    let sets = json!({
        "bounding": ["CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_NET_BIND_SERVICE"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": [],
    });
    // A process that executes a file as root gains its bounding set; only no-new-privileges and another user show the sets as given.
    let seen = t
        .container(&Bundle::probe().set("/process/capabilities", sets))?
        .report()?;
    assert_eq!(seen.mask("CapBnd"), KILL | NET_BIND_SERVICE | 1);
    assert_eq!(seen.mask("CapInh"), KILL);
    Ok(())
}

fn no_capabilities_key_means_none(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().set("/process/capabilities", json!({})))?
        .report()?;
    let got = ["CapBnd", "CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| seen.mask(name));
    assert_eq!(got, [0; 5]);
    Ok(())
}

fn a_user_without_ambient_capabilities_has_none(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().set("/process/user", json!({"uid": 1000, "gid": 1000})))?
        .report()?;
    let got = ["CapEff", "CapPrm", "CapInh", "CapAmb"].map(|name| seen.mask(name));
    assert_eq!(got, [0; 4]);
    Ok(())
}

fn ambient_capabilities_reach_a_user(t: &Test) -> Done {
    let names = json!(["CAP_NET_BIND_SERVICE"]);
    let sets = json!({"bounding": names, "permitted": names, "effective": names, "inheritable": names, "ambient": names});
    let bundle = Bundle::probe()
        .set("/process/user", json!({"uid": 1000, "gid": 1000}))
        .set("/process/capabilities", sets);
    let seen = t.container(&bundle)?.report()?;
    let got = ["CapEff", "CapPrm", "CapInh", "CapAmb", "CapBnd"].map(|name| seen.mask(name));
    assert_eq!(got, [NET_BIND_SERVICE; 5]);
    Ok(())
}

fn an_unknown_capability_is_only_warned_of(t: &Test) -> Done {
    let seen = t
        .container(&Bundle::probe().capabilities(&["CAP_KILL", "CAP_FROM_THE_FUTURE"]))?
        .report()?;
    assert_eq!(seen.mask("CapEff"), KILL);
    Ok(())
}

fn no_new_privileges_is_set_and_unset(t: &Test) -> Done {
    for (value, wanted) in [(true, "1"), (false, "0")] {
        let seen = t
            .container(&Bundle::probe().set("/process/noNewPrivileges", json!(value)))?
            .report()?;
        assert_eq!(seen.status("NoNewPrivs"), wanted);
    }
    Ok(())
}

fn the_session_keyring_is_the_containers_own(t: &Test) -> Done {
    let c = t.container(&Bundle::probe())?;
    let seen = c.report()?;
    let name = seen
        .at("/keyring/description")
        .as_str()
        .unwrap_or("")
        .to_owned();
    assert!(name.ends_with(&format!(";_ses.{}", c.id)), "{name}");
    let sleeper = t.container(&Bundle::sleeper())?;
    sleeper.run_detached()?;
    let seen = sleeper.exec_report(&[])?;
    let name = seen
        .at("/keyring/description")
        .as_str()
        .unwrap_or("")
        .to_owned();
    assert!(
        name.ends_with(&format!(";_ses.{}", sleeper.id)),
        "exec joins the same: {name}"
    );
    Ok(())
}

fn no_new_keyring_keeps_the_callers(t: &Test) -> Done {
    let c = t.container(&Bundle::probe())?;
    let out = t
        .runtime
        .finish(c.run_command(&["--no-new-keyring"]))?
        .success()?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    let name = seen
        .at("/keyring/description")
        .as_str()
        .unwrap_or("")
        .to_owned();
    assert!(!name.contains(&c.id), "{name}");
    Ok(())
}

fn seccomp_is_off_without_a_profile(t: &Test) -> Done {
    let seen = t.container(&Bundle::probe())?.report()?;
    assert_eq!(seen.status("Seccomp"), processes_own("Seccomp")?);
    Ok(())
}

/// A status line of this very process: what a container starts from.
fn processes_own(name: &str) -> Result<String, Failure> {
    let own = std::process::id().cast_signed();
    garboard_integration_tests::processes::status_field(own, name)
        .ok_or_else(|| Failure::new(format!("no {name}")))
}

fn stdio_belongs_to_the_user(t: &Test) -> Done {
    let c = t.container(
        &Bundle::args(["/bin/probe"]).set("/process/user", json!({"uid": 1000, "gid": 1000})),
    )?;
    let out = c.run_detached()?;
    c.await_status("stopped")?;
    let seen = garboard_integration_tests::probe::Report::parse(&out.stdout())?;
    assert_eq!(
        (seen.at("/fds/1/uid"), seen.at("/fds/2/uid")),
        (&json!(1000), &json!(1000))
    );
    Ok(())
}

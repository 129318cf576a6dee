//! Against a directory tree that looks like resctrl. What the kernel would add to a new group is added by hand between the module's steps.

use std::fs;
use std::path::{Path, PathBuf};

use super::group::{self, Group};
use super::schemata::has;
use super::*;
use crate::error::Errno;

/// A tree like that of a machine with one L3 cache, bandwidth in steps of ten, and monitoring.
struct Fake {
    root: PathBuf,
}

impl Fake {
    fn new(name: &str) -> Fake {
        let root = std::env::temp_dir().join(format!("garboard-rdt-{name}-{}", std::process::id()));
        let fake = Fake { root };
        for (file, content) in [
            ("info/L3/cbm_mask", "fff\n"),
            ("info/L3/min_cbm_bits", "2\n"),
            ("info/L3/num_closids", "15\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            (
                "info/L3_MON/mon_features",
                "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
            ),
            ("info/last_cmd_status", "ok\n"),
        ] {
            fake.write(file, content);
        }
        fake.populate("");
        fake.write("schemata", "    MB:0=100;1=100\n    L3:0=fff;1=fff\n");
        fake
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// What the kernel puts into a new group.
    fn populate(&self, group: &str) {
        let group = self.root.join(group);
        fs::create_dir_all(group.join("mon_groups")).unwrap();
        for (cache, bytes) in [("mon_L3_00", "4096"), ("mon_L3_01", "Unavailable")] {
            let cache = group.join("mon_data").join(cache);
            fs::create_dir_all(&cache).unwrap();
            for counter in ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"] {
                fs::write(cache.join(counter), bytes).unwrap();
            }
        }
        fs::write(group.join("tasks"), "").unwrap();
        fs::write(group.join("schemata"), "").unwrap();
    }

    /// What the kernel takes out of a group that is removed.
    fn empty(&self, group: &str) {
        let group = self.root.join(group);
        for entry in fs::read_dir(group).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }

    fn resctrl(&self) -> Resctrl {
        Resctrl::at(&self.root).unwrap()
    }

    fn plan(&self, config: &IntelRdt) -> Result<RdtPlan, Error> {
        RdtPlan::within(self.resctrl(), config, "c1")
    }

    /// The steps of [`Group::create`], with the kernel's part.
    fn create(&self, config: &IntelRdt) -> Group {
        let plan = self.plan(config).unwrap();
        let mut group = Group::unmade(plan.resctrl, plan.placement.clone());
        if plan.placement.owner != Owner::Shared {
            group.make().unwrap();
            self.populate(&plan.placement.group);
        }
        group.set_schemata(&plan.lines).unwrap();
        if let Some(name) = &plan.placement.monitoring {
            group.make_monitoring().unwrap();
            self.populate(&group::monitoring_path(&plan.placement.group, name));
        }
        group
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn lines(texts: &[&str]) -> Vec<SchemaLine> {
    let line = |text: &&str| SchemaLine {
        resource: text.split(':').next().unwrap().to_owned(),
        text: (*text).to_owned(),
        at: POINTER.key("schemata"),
    };
    texts.iter().map(line).collect()
}

fn config(class: RdtClass, schemata: &[&str], monitoring: bool) -> IntelRdt {
    IntelRdt {
        class,
        schemata: lines(schemata),
        monitoring,
    }
}

fn named(name: &str) -> RdtClass {
    RdtClass::Named(name.to_owned())
}

fn error(result: Result<RdtPlan, Error>) -> (ErrorKind, String) {
    let error = result.expect_err("refused");
    (error.kind(), error.to_string())
}

#[test]
fn a_group_of_its_own_is_made_entered_and_removed() {
    let fake = Fake::new("own");
    let config = config(RdtClass::Own, &["L3:0=f;1=f0", "MB:0=20;1=70"], true);
    let mut group = fake.create(&config);
    group.enter(42).unwrap();
    assert_eq!(fake.read("c1/schemata"), "L3:0=f;1=f0\nMB:0=20;1=70\n");
    assert_eq!(fake.read("c1/tasks"), "42");
    assert_eq!(fake.read("c1/mon_groups/c1/tasks"), "42");
    assert_eq!(fake.read("tasks"), "");
    group.commit();
    drop(group);
    assert!(fake.has("c1/mon_groups/c1"));

    let placement = Placement {
        root: fake.root.clone(),
        group: "c1".to_owned(),
        owner: Owner::Container,
        monitoring: Some("c1".to_owned()),
    };
    fake.empty("c1/mon_groups/c1");
    // The kernel's own content of the outer group is in the way of a plain rmdir; what matters here is that the inner one went first.
    let _ = group::remove(&fake.resctrl(), &placement, true);
    assert!(!fake.has("c1/mon_groups/c1"));
    fake.empty("c1");
    group::remove(&fake.resctrl(), &placement, true).unwrap();
    assert!(!fake.has("c1"));
    // And again, as a delete that was killed does it.
    group::remove(&fake.resctrl(), &placement, true).unwrap();
}

#[test]
fn a_failed_create_takes_back_what_it_made_and_nothing_else() {
    let fake = Fake::new("undo");
    let own = config(RdtClass::Own, &[], false);
    let group = fake.create(&own);
    fake.empty("c1");
    drop(group);
    assert!(!fake.has("c1"));

    fake.populate("gold");
    let shared = config(named("gold"), &[], true);
    let group = fake.create(&shared);
    fake.empty("gold/mon_groups/c1");
    drop(group);
    assert!(fake.has("gold/tasks") && !fake.has("gold/mon_groups/c1"));
}

#[test]
fn a_shared_group_stays_with_its_schemata() {
    let fake = Fake::new("shared");
    fake.populate("gold");
    fake.write("gold/schemata", "    MB:0= 30;1=100\n    L3:0=00f;1=fff\n");
    let asked = config(named("gold"), &["L3:0=F", "MB:0=22"], true);
    let before = fake.read("gold/schemata");
    let mut group = fake.create(&asked);
    group.enter(7).unwrap();
    group.commit();
    assert_eq!(fake.read("gold/schemata"), before);
    assert_eq!(fake.read("gold/tasks"), "7");
    let placement = fake_placement(&fake, "gold", Owner::Shared);
    fake.empty("gold/mon_groups/c1");
    group::remove(&fake.resctrl(), &placement, true).unwrap();
    assert!(fake.has("gold/tasks") && !fake.has("gold/mon_groups/c1"));
}

fn fake_placement(fake: &Fake, group: &str, owner: Owner) -> Placement {
    Placement {
        root: fake.root.clone(),
        group: group.to_owned(),
        owner,
        monitoring: Some("c1".to_owned()),
    }
}

#[test]
fn a_shared_group_that_an_unfinished_create_made_goes_unless_it_is_in_use() {
    let fake = Fake::new("unfinished");
    let asked = config(named("gold"), &["L3:0=f"], false);
    assert_eq!(fake.plan(&asked).unwrap().placement.owner, Owner::Create);
    let placement = Placement {
        monitoring: None,
        ..fake_placement(&fake, "gold", Owner::Create)
    };
    fake.populate("gold");
    fake.write("gold/tasks", "99\n");
    group::remove(&fake.resctrl(), &placement, false).unwrap();
    assert!(fake.has("gold/tasks"));
    fake.empty("gold");
    group::remove(&fake.resctrl(), &placement, true).unwrap();
    assert!(fake.has("gold"), "a finished create's group is everybody's");
    group::remove(&fake.resctrl(), &placement, false).unwrap();
    assert!(!fake.has("gold"));
}

#[test]
fn the_default_group_is_entered_and_never_touched() {
    let fake = Fake::new("default");
    let mut group = fake.create(&config(RdtClass::Default, &["L3:0=fff"], true));
    group.enter(5).unwrap();
    group.commit();
    assert_eq!(fake.read("tasks"), "5");
    assert_eq!(fake.read("mon_groups/c1/tasks"), "5");
    let placement = fake_placement(&fake, "", Owner::Shared);
    fake.empty("mon_groups/c1");
    group::remove(&fake.resctrl(), &placement, true).unwrap();
    assert!(fake.has("tasks") && !fake.has("mon_groups/c1"));
}

#[test]
fn what_cannot_be_had_is_refused_before_anything_is_made() {
    let fake = Fake::new("refused");
    let (kind, text) = error(fake.plan(&config(named("gold"), &[], false)));
    assert_eq!(kind, ErrorKind::InvalidConfig);
    assert!(
        text.starts_with("config.json#/linux/intelRdt/closID: "),
        "{text}"
    );

    let (kind, text) = error(fake.plan(&config(RdtClass::Own, &["L2:0=f"], false)));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(
        text.starts_with("config.json#/linux/intelRdt/schemata: resource \"L2\""),
        "{text}"
    );

    fake.populate("c1");
    let (kind, text) = error(fake.plan(&config(RdtClass::Own, &[], false)));
    assert_eq!(kind, ErrorKind::AlreadyExists);
    assert!(
        text.contains("exists and is not this container's"),
        "{text}"
    );

    fake.write("c1/schemata", "    MB:0=100\n    L3:0=00f\n");
    for wrong in ["L3:0=ff", "L3:0=f;1=f", "MB:0=90", "L3CODE:0=f"] {
        fake.write("info/L3CODE/cbm_mask", "fff");
        let (kind, text) = error(fake.plan(&config(named("c1"), &[wrong], false)));
        assert_eq!(kind, ErrorKind::InvalidConfig, "{text}");
        assert!(text.contains("is not what the group"), "{text}");
    }

    fs::remove_dir_all(fake.root.join("mon_groups")).unwrap();
    let (kind, text) = error(fake.plan(&config(RdtClass::Default, &[], true)));
    assert_eq!(kind, ErrorKind::Unsupported);
    assert!(
        text.starts_with("config.json#/linux/intelRdt/enableMonitoring: "),
        "{text}"
    );
}

#[test]
fn what_the_kernel_refuses_is_told_in_its_own_words() {
    let fake = Fake::new("told");
    fake.write("info/last_cmd_status", "Out of CLOSIDs\n");
    let plan = fake
        .plan(&config(RdtClass::Own, &["L3:0=zz"], false))
        .unwrap();
    let mut group = Group::unmade(plan.resctrl, plan.placement);
    group.make().unwrap();
    // Without the kernel there is no schemata to write.
    let error = group.set_schemata(&lines(&["L3:0=zz"])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert_eq!(error.errno(), Some(Errno(2)));
    assert_eq!(error.pointers(), [POINTER.key("schemata")]);
    assert!(
        error
            .to_string()
            .ends_with("(resctrl says: Out of CLOSIDs)"),
        "{error}"
    );
}

#[test]
fn links_in_the_tree_are_not_followed() {
    let fake = Fake::new("links");
    std::os::unix::fs::symlink("/tmp", fake.root.join("gold")).unwrap();
    let (kind, text) = error(fake.plan(&config(named("gold"), &[], false)));
    assert_eq!(kind, ErrorKind::Refused, "{text}");
}

#[test]
fn a_directory_that_is_not_resctrl_is_none() {
    let fake = Fake::new("proof");
    assert!(Resctrl::reopen(&fake.root).unwrap().is_none());
    assert!(Resctrl::reopen(Path::new("/nowhere")).unwrap().is_none());
    let placement = fake_placement(&fake, "c1", Owner::Container);
    fake.populate("c1");
    remove(&placement, true).unwrap();
    assert!(fake.has("c1/tasks"), "only a real resctrl is touched");
}

#[test]
fn statistics_have_runcs_names() {
    let fake = Fake::new("stats");
    fake.populate("c1");
    fake.populate("c1/mon_groups/c1");
    fake.write("c1/schemata", "    MB:0= 20\n    L3:0=00f\n");
    let placement = fake_placement(&fake, "c1", Owner::Container);
    let stats = stats::of(&fake.resctrl(), &placement).unwrap();
    assert_eq!(
        serde_json::to_value(stats).unwrap(),
        serde_json::json!({
            "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 15},
            "l3_cache_schema_root": "L3:0=fff;1=fff",
            "l3_cache_schema": "L3:0=00f",
            "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0= 20",
            "mbm_stats": [{"mbm_total_bytes": 4096, "mbm_local_bytes": 4096}, {}],
            "cmt_stats": [{"llc_occupancy": 4096}, {"llc_occupancy": 0}],
        })
    );
}

#[test]
fn schemata_are_compared_by_what_they_mean() {
    let existing = "    MB:0= 30;1=100\n  L3:0=00f;1=fff\n";
    for (line, step, same) in [
        ("L3:0=f", None, true),
        ("L3: 1=FFF ; 0=0f;", None, true),
        ("L3:00=f", None, true),
        ("L3:0=ff", None, false),
        ("L3:2=f", None, false),
        ("L2:0=f", None, false),
        ("MB:0=30", Some(10), true),
        ("MB:0=21", Some(10), true),
        ("MB:0=31", Some(10), false),
        ("MB:0=21", None, false),
        ("nonsense", None, false),
    ] {
        assert_eq!(has(existing, line, step), same, "{line}");
    }
}

#[test]
fn the_first_whole_resctrl_of_mountinfo_counts() {
    let mountinfo = b"27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
        30 27 0:30 / /srv/resctrl rw - tmpfs resctrl rw\n\
        31 27 0:31 /gold /srv/gold rw - resctrl resctrl rw\n\
        32 27 0:31 / /sys/fs/my\\040resctrl rw shared:3 - resctrl resctrl rw,mba_MBps\n";
    assert_eq!(
        mount::mount_point(mountinfo),
        Some(PathBuf::from("/sys/fs/my resctrl"))
    );
    assert_eq!(mount::mount_point(b""), None);
}

#[test]
fn an_update_changes_the_schemata_or_takes_them_back() {
    let fake = Fake::new("update");
    fake.populate("c1");
    let before = "    MB:0= 20\n    L3:0=00f\n";
    fake.write("c1/schemata", before);
    let now = fake_placement(&fake, "c1", Owner::Container);
    let update = |texts: &[&str]| Update::within(fake.resctrl(), "c1", Some(&now), lines(texts));
    let nobody = || Ok(Vec::new());

    let mut kept = update(&["L3:0=ff"]).unwrap();
    assert_eq!(fake.read("c1/schemata"), before, "only planned");
    kept.apply(nobody).unwrap();
    kept.commit();
    // The kernel keeps the other lines; a plain file does not.
    assert_eq!(fake.read("c1/schemata").lines().next(), Some("L3:0=ff"));

    fake.write("c1/schemata", before);
    let mut dropped = update(&["L3:0=fff", "MB:0=90"]).unwrap();
    dropped.apply(nobody).unwrap();
    drop(dropped);
    assert!(has(&fake.read("c1/schemata"), "L3:0=f", None));
    assert!(has(&fake.read("c1/schemata"), "MB:0=20", None));

    let error = update(&["L2:0=f"]).expect_err("no such resource");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("is not enabled (hint: "),
        "{error}"
    );
}

#[test]
fn an_update_plans_a_group_for_a_container_without_one() {
    let fake = Fake::new("late");
    let update = Update::within(fake.resctrl(), "c1", None, lines(&["L3:0=f"])).unwrap();
    assert_eq!(update.placement.owner, Owner::Container);
    assert_eq!(update.placement.path(), fake.root.join("c1"));
    drop(update);
    assert!(!fake.has("c1"));
}

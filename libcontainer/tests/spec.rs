//! A container from a value of the oci-spec crate.

mod bundles;

use bundles::Place;
use libcontainer::{Bundle, CreateOptions, ErrorKind, ExitStatus, Runtime};
use oci_spec::runtime::Spec;
use serde_json::json;

#[test]
fn a_spec_runs_after_the_same_validation() {
    let place = Place::new("spec");
    let spec =
        |config: serde_json::Value| -> Spec { serde_json::from_value(config).expect("spec") };
    let directory = place.path().join("bundle");
    std::fs::create_dir(&directory).expect("bundle");
    let mut config = place.config("spec", &["sh", "-c", "exit 9"]);
    let bundle = Bundle::from_spec(&directory, &spec(config.clone())).expect("from_spec");
    assert_eq!(bundle.check().expect("a good one"), Vec::<String>::new());
    let runtime = Runtime::open(&place.root()).expect("state root");
    let container = runtime
        .run("spec", bundle.path(), &CreateOptions::default())
        .expect("run");
    assert_eq!(container.wait().expect("wait"), ExitStatus::Exited(9));
    container.delete().expect("delete");

    // Nothing is written over.
    let error = Bundle::from_spec(&directory, &spec(config.clone())).expect_err("it is there");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);

    config["process"]["cwd"] = json!("relative");
    let directory = place.path().join("wrong");
    std::fs::create_dir(&directory).expect("bundle");
    let bundle = Bundle::from_spec(&directory, &spec(config)).expect("from_spec");
    let error = bundle.check().expect_err("a relative cwd");
    assert_eq!(error.pointers()[0].as_str(), "config.json#/process/cwd");
}

//! Options from real messages of both types, and their copy in a bundle.

use super::*;

fn runc(options: &oci::Options, url: &str) -> Any {
    Any {
        type_url: url.to_owned(),
        value: options.write_to_bytes().expect("encodes"),
        ..Any::new()
    }
}

/// As containerd's CRI plugin and Docker send the options of a runtime that they do not know.
fn general(body: &str) -> Any {
    let mut value = Vec::new();
    let mut out = protobuf::CodedOutputStream::vec(&mut value);
    out.write_string(1, "whatever").expect("encodes");
    out.write_bytes(3, body.as_bytes()).expect("encodes");
    out.flush().expect("encodes");
    drop(out);
    Any {
        type_url: "runtimeoptions.v1.Options".to_owned(),
        value,
        ..Any::new()
    }
}

fn read(any: &Any) -> Options {
    Options::from_any(Some(any), "k8s.io").expect("options")
}

fn said(any: &Any) -> String {
    let error = Options::from_any(Some(any), "k8s.io").expect_err("wrong");
    error.to_string()
}

#[test]
fn no_options_are_the_defaults() {
    let options = Options::default_of("default").expect("options");
    assert_eq!(
        options,
        Options {
            root: "/run/containerd/garboard/default".into(),
            systemd_cgroup: false,
            no_pivot: false,
            no_new_keyring: false,
            shim_cgroup: None,
            io_uid: 0,
            io_gid: 0,
        }
    );
    let empty = Options::from_any(Some(&Any::new()), "default").expect("options");
    assert_eq!(options, empty);
}

#[test]
fn both_messages_say_the_same() {
    let all = oci::Options {
        no_pivot_root: true,
        no_new_keyring: true,
        shim_cgroup: "/shims".into(),
        io_uid: 1000,
        io_gid: 2000,
        binary_name: "runc".into(),
        root: "/run/r".into(),
        systemd_cgroup: true,
        ..oci::Options::new()
    };
    let expected = Options {
        root: "/run/r/k8s.io".into(),
        systemd_cgroup: true,
        no_pivot: true,
        no_new_keyring: true,
        shim_cgroup: Some("/shims".into()),
        io_uid: 1000,
        io_gid: 2000,
    };
    assert_eq!(read(&runc(&all, RUNC)), expected);
    let url = "type.googleapis.com/containerd.runc.v1.Options";
    assert_eq!(read(&runc(&all, url)), expected);
    let camel = "Root = '/run/r'\nSystemdCgroup = true\nNoPivotRoot = true\nNoNewKeyring = true\nShimCgroup = '/shims'\nIoUid = 1000\n\
                 IoGid = 2000\nBinaryName = 'runc'\nCriuPath = ''\n";
    assert_eq!(read(&general(camel)), expected);
    let snake = "root = '/run/r'\nsystemd_cgroup = true\nno_pivot_root = true\nno_new_keyring = true\nshim_cgroup = '/shims'\n\
                 io_uid = 1000\nio_gid = 2000\n";
    assert_eq!(read(&general(snake)), expected);
}

#[test]
fn a_config_path_is_read() {
    let file = std::env::temp_dir().join(format!("garboard-test-options-{}", std::process::id()));
    std::fs::write(&file, "SystemdCgroup = true").expect("write");
    let path = file.to_str().expect("text");
    let mut value = vec![0x12, path.len() as u8];
    value.extend_from_slice(path.as_bytes());
    let any = Any {
        type_url: "cri.runtimeoptions.v1.Options".to_owned(),
        value,
        ..Any::new()
    };
    assert!(read(&any).systemd_cgroup);
    std::fs::remove_file(&file).expect("remove");
    assert!(said(&any).contains(path));
}

#[test]
fn what_is_refused() {
    let typo = general("SystemdCgroups = true");
    assert!(said(&typo).contains("\"SystemdCgroups\" is no option"));
    assert!(said(&general("SystemdCgroup = 7")).contains("SystemdCgroup"));
    assert!(said(&general("[")).contains("configuration"));
    let foreign = runc(&oci::Options::new(), "gvisor.v1.Options");
    assert!(said(&foreign).contains("gvisor.v1.Options"));
    let torn = Any {
        value: vec![0x3a, 200, 1],
        ..runc(&oci::Options::new(), RUNC)
    };
    assert!(said(&torn).starts_with("runtime options:"));
    let relative = oci::Options {
        root: "run".into(),
        ..oci::Options::new()
    };
    assert!(said(&runc(&relative, RUNC)).contains("not an absolute path"));
    for namespace in ["", ".", "..", "a/b", "/a", "a/"] {
        let refused = Options::default_of(namespace);
        assert!(matches!(refused, Err(Error::Namespace(_))), "{namespace:?}");
    }
}

#[test]
fn a_copy_survives_in_the_bundle() {
    let name = format!("garboard-test-bundle-{}", std::process::id());
    let bundle = std::env::temp_dir().join(name);
    std::fs::create_dir(&bundle).expect("bundle");
    assert_eq!(Options::load(&bundle).expect("load"), None);
    // A shim that was killed while it wrote.
    std::fs::write(bundle.join(".options.json"), "{").expect("write");
    let mut options = Options::default_of("moby").expect("options");
    for uid in [0, 7] {
        options.io_uid = uid;
        options.save(&bundle).expect("save");
        assert_eq!(Options::load(&bundle).expect("load"), Some(options.clone()));
    }
    std::fs::write(bundle.join("options.json"), "{").expect("write");
    assert!(matches!(Options::load(&bundle), Err(Error::Json(_))));
    std::fs::remove_dir_all(&bundle).expect("remove");
}

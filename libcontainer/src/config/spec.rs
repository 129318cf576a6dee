//! The `config.json` that `garboard spec` writes: the same as runc's but for the host name.
//!
//! The one for root stands in `default_config.json` as it is written; the others are changes to its text, each of one whole piece.

/// For root, on cgroup v1; tabs, no newline at the end.
const FOR_ROOT: &str = include_str!("default_config.json");

const LAST_NAMESPACE: &str = "\t\t\t{\n\t\t\t\t\"type\": \"mount\"\n\t\t\t}";
const NETWORK_NAMESPACE: &str = "\t\t\t{\n\t\t\t\t\"type\": \"network\"\n\t\t\t},\n";
const TERMINAL_GROUP: &str = ",\n\t\t\t\t\"gid=5\"";
const SYSFS: &str = "\"type\": \"sysfs\",\n\t\t\t\"source\": \"sysfs\",\n\t\t\t\"options\": [\n";
const SYSFS_OF_THE_HOST: &str =
    "\"type\": \"none\",\n\t\t\t\"source\": \"/sys\",\n\t\t\t\"options\": [\n\t\t\t\t\"rbind\",\n";
const RESOURCES: &str = "\t\t\"resources\": {\n\t\t\t\"devices\": [\n\t\t\t\t{\n\t\t\t\t\t\"allow\": false,\n\t\t\t\t\t\"access\": \"rwm\"\n\t\t\t\t}\n\t\t\t]\n\t\t},\n";

/// The text of a starting configuration: tabs, no newline at the end. `rootless` are the caller's effective uid and gid, mapped to the container's root;
/// `None` makes one for root. With `cgroup_v2` it has a cgroup namespace.
pub fn default_spec(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> String {
    let mut spec = FOR_ROOT.to_owned();
    if cgroup_v2 {
        spec = add_namespace(&spec, LAST_NAMESPACE, "cgroup");
    }
    let Some((uid, gid)) = rootless else {
        return spec;
    };
    let last = if cgroup_v2 {
        namespace("cgroup")
    } else {
        LAST_NAMESPACE.to_owned()
    };
    let mappings = format!(
        "{}{}",
        mapping("uidMappings", uid),
        mapping("gidMappings", gid)
    );
    add_namespace(&spec, &last, "user")
        .replacen(NETWORK_NAMESPACE, "", 1)
        .replacen(TERMINAL_GROUP, "", 1)
        .replacen(SYSFS, SYSFS_OF_THE_HOST, 1)
        .replacen(RESOURCES, &mappings, 1)
}

fn add_namespace(spec: &str, after: &str, kind: &str) -> String {
    spec.replacen(after, &format!("{after},\n{}", namespace(kind)), 1)
}

fn namespace(kind: &str) -> String {
    format!("\t\t\t{{\n\t\t\t\t\"type\": \"{kind}\"\n\t\t\t}}")
}

fn mapping(name: &str, id: u32) -> String {
    format!(
        "\t\t\"{name}\": [\n\t\t\t{{\n\t\t\t\t\"containerID\": 0,\n\t\t\t\t\"hostID\": {id},\n\t\t\t\t\"size\": 1\n\t\t\t}}\n\t\t],\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn kinds(spec: &Value) -> Vec<&str> {
        spec["linux"]["namespaces"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|entry| entry["type"].as_str())
            .collect()
    }

    fn spec(rootless: Option<(u32, u32)>, cgroup_v2: bool) -> Value {
        let text = default_spec(rootless, cgroup_v2);
        assert!(
            text.starts_with("{\n\t\"ociVersion\": \"1.3.0\",\n") && text.ends_with("\n}"),
            "{text}"
        );
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn for_root_with_and_without_a_cgroup_namespace() {
        assert_eq!(
            kinds(&spec(None, false)),
            ["pid", "network", "ipc", "uts", "mount"]
        );
        assert_eq!(
            kinds(&spec(None, true)),
            ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        );
        let devices = &spec(None, true)["linux"]["resources"]["devices"];
        assert_eq!(*devices, json!([{"allow": false, "access": "rwm"}]));
    }

    #[test]
    fn for_the_rootless() {
        for (cgroup_v2, namespaces) in [
            (false, vec!["pid", "ipc", "uts", "mount", "user"]),
            (true, vec!["pid", "ipc", "uts", "mount", "cgroup", "user"]),
        ] {
            let spec = spec(Some((1000, 1001)), cgroup_v2);
            assert_eq!(kinds(&spec), namespaces);
            assert_eq!(
                spec["linux"]["uidMappings"],
                json!([{"containerID": 0, "hostID": 1000, "size": 1}])
            );
            assert_eq!(
                spec["linux"]["gidMappings"],
                json!([{"containerID": 0, "hostID": 1001, "size": 1}])
            );
            assert!(spec["linux"].get("resources").is_none());
            assert!(!spec.to_string().contains("gid="));
            let sys = &spec["mounts"][5];
            assert_eq!(
                *sys,
                json!({"destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
            );
        }
    }

    #[test]
    fn another_parser_reads_the_same() {
        for rootless in [None, Some((1000, 1000))] {
            let text = default_spec(rootless, true);
            let theirs: oci_spec::runtime::Spec = serde_json::from_str(&text).expect("a spec");
            assert_eq!(theirs.hostname().as_deref(), Some("garboard"));
            assert_eq!(theirs.mounts().as_ref().map(Vec::len), Some(7));
            let back: Value = serde_json::to_value(&theirs).expect("JSON");
            assert_eq!(back["process"]["args"], json!(["sh"]));
            assert_eq!(
                back["linux"]["maskedPaths"].as_array().map(Vec::len),
                Some(10)
            );
        }
    }
}

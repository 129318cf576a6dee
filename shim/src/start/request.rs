//! What containerd says to `start`, on stdin and in the environment, and the form of the reply it understands.
//!
//! | containerd | stdin | environment | reply |
//! |---|---|---|---|
//! | 1.6 | the runtime options as an `Any`, or nothing | | the bare address |
//! | 1.7 to 2.2 | the same | MAX_SHIM_VERSION | JSON, `version` 2 |
//! | 2.3 and later | `BootstrapParams`, with the options among its extensions | MAX_SHIM_VERSION | JSON, `version` 3 |
//!
//! The bytes of an `Any` are valid `BootstrapParams` too, since protobuf skips what it does not know: a type URL becomes the instance's id.
//! So it is believed only if it says the id and the namespace that the command line says (containerd, pkg/shim/compat.go).

use std::ffi::OsString;
use std::io::{self, Read};
use std::path::Path;

use containerd_shim_protos::bootstrap_api::{BootstrapParams, LogLevel};
use protobuf::Message;
use protobuf::well_known_types::any::Any;

use crate::arguments::Task;
use crate::options;
use crate::socket;

/// As much as containerd's own shim reads.
const LONGEST: u64 = 10 << 20;

/// How the address is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// Nothing else, not even a newline.
    Address,
    /// With the version of the task API, on one line without an end.
    Json(u8),
}

/// What is asked for.
#[derive(Debug)]
pub struct Request {
    /// The runtime options, if there are any.
    pub options: Option<Any>,
    pub debug: bool,
    /// Where events go; None: it stands in the environment, or nowhere.
    pub events: Option<String>,
    pub reply: Reply,
    socket_directory: Option<String>,
}

impl Request {
    /// Reads stdin to its end.
    pub fn read(task: &Task) -> io::Result<Request> {
        let mut input = Vec::new();
        io::stdin().lock().take(LONGEST).read_to_end(&mut input)?;
        let most = std::env::var_os("MAX_SHIM_VERSION");
        Request::parse(&input, task, most).map_err(|error| io::Error::other(error.to_string()))
    }

    fn parse(input: &[u8], task: &Task, most: Option<OsString>) -> protobuf::Result<Request> {
        if let Ok(said) = BootstrapParams::parse_from_bytes(input)
            && said.instance_id == task.id
            && said.namespace == task.namespace
        {
            return Ok(Request::of(said, task));
        }
        let any = Any::parse_from_bytes(input)?;
        Ok(Request {
            options: Some(any).filter(|any| !any.type_url.is_empty()),
            debug: task.debug,
            events: None,
            reply: match most {
                None => Reply::Address,
                // Not 3: 1.7 refuses it, and says nothing by which it could be told from 2.0.
                Some(_) => Reply::Json(2),
            },
            socket_directory: None,
        })
    }

    fn of(said: BootstrapParams, task: &Task) -> Request {
        let options = said
            .extensions
            .into_iter()
            .filter_map(|extension| extension.value.into_option())
            .find(options::are_options);
        Request {
            options,
            debug: task.debug || said.log_level.value() <= LogLevel::LOG_LEVEL_DEBUG as i32,
            events: Some(said.containerd_ttrpc_address).filter(|address| !address.is_empty()),
            reply: Reply::Json(3),
            socket_directory: said.socket_dir.filter(|directory| !directory.is_empty()),
        }
    }

    /// Where the socket goes.
    pub fn socket_directory(&self) -> &Path {
        Path::new(
            self.socket_directory
                .as_deref()
                .unwrap_or(socket::DIRECTORY),
        )
    }
}

impl Reply {
    /// What is printed.
    pub fn text(self, address: &str) -> String {
        match self {
            Reply::Address => address.to_owned(),
            Reply::Json(version) => {
                serde_json::json!({"version": version, "address": address, "protocol": "ttrpc"})
                    .to_string()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_shim_protos::bootstrap_api::Extension;
    use containerd_shim_protos::shim::oci;
    use protobuf::{EnumOrUnknown, MessageField};

    use super::*;

    fn task() -> Task {
        Task {
            namespace: "k8s.io".to_owned(),
            id: "c1".to_owned(),
            ..Task::default()
        }
    }

    fn options() -> Any {
        let options = oci::Options {
            systemd_cgroup: true,
            ..oci::Options::new()
        };
        Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: options.write_to_bytes().expect("encodes"),
            ..Any::new()
        }
    }

    fn parse(message: &impl Message, most: Option<&str>) -> Request {
        let bytes = message.write_to_bytes().expect("encodes");
        Request::parse(&bytes, &task(), most.map(OsString::from)).expect("parses")
    }

    fn extension(value: Any) -> Extension {
        Extension {
            value: MessageField::some(value),
            ..Extension::new()
        }
    }

    #[test]
    fn nothing_is_a_request_too() {
        let request = Request::parse(b"", &task(), None).expect("parses");
        assert!(request.options.is_none());
        assert_eq!(request.reply, Reply::Address);
        assert_eq!(request.socket_directory(), Path::new("/run/containerd/s"));
    }

    #[test]
    fn the_options_of_1_6_to_2_2() {
        for (most, reply) in [(None, Reply::Address), (Some("2"), Reply::Json(2))] {
            let request = parse(&options(), most);
            assert_eq!(request.options, Some(options()));
            assert_eq!((request.reply, request.debug), (reply, false));
        }
        // A container with the name of the type is not what tells them apart.
        let named = Task {
            id: options().type_url,
            ..task()
        };
        let bytes = options().write_to_bytes().expect("encodes");
        let request = Request::parse(&bytes, &named, None).expect("parses");
        assert_eq!(request.reply, Reply::Address);
    }

    #[test]
    fn the_parameters_of_2_3() {
        let foreign = Any {
            type_url: "containerd.io/nri.v1.PluginConfig".to_owned(),
            ..Any::new()
        };
        let params = BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "k8s.io".to_owned(),
            log_level: EnumOrUnknown::new(LogLevel::LOG_LEVEL_TRACE),
            containerd_version: "2.3.0".to_owned(),
            containerd_ttrpc_address: "/run/c.ttrpc".to_owned(),
            extensions: vec![Extension::new(), extension(foreign), extension(options())],
            socket_dir: Some("/run/s".to_owned()),
            ..BootstrapParams::new()
        };
        let request = parse(&params, Some("2"));
        assert_eq!(request.options, Some(options()));
        assert_eq!(request.reply, Reply::Json(3));
        assert!(request.debug);
        assert_eq!(request.events.as_deref(), Some("/run/c.ttrpc"));
        assert_eq!(request.socket_directory(), Path::new("/run/s"));
        // Without any options, and at the ordinary level.
        let bare = BootstrapParams {
            instance_id: "c1".to_owned(),
            namespace: "k8s.io".to_owned(),
            ..BootstrapParams::new()
        };
        let request = parse(&bare, Some("2"));
        assert_eq!((request.reply, request.debug), (Reply::Json(3), false));
        assert!(request.options.is_none());
        // Those of another container are none.
        let other = BootstrapParams {
            instance_id: "c2".to_owned(),
            ..params
        };
        assert_eq!(parse(&other, Some("2")).reply, Reply::Json(2));
    }

    #[test]
    fn bytes_of_neither_are_refused() {
        let task = task();
        assert!(Request::parse(b"\xff\xff", &task, None).is_err());
    }

    #[test]
    fn the_replies() {
        let address = "unix:///run/containerd/s/00ff";
        assert_eq!(Reply::Address.text(address), address);
        let json = Reply::Json(2).text(address);
        assert!(json.starts_with('{') && json.ends_with('}'), "{json}");
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let expected = serde_json::json!({"version": 2, "address": address, "protocol": "ttrpc"});
        assert_eq!(json, expected);
    }
}

//! The reply to `-info`: containerd's `RuntimeInfo` (api/types/introspection.proto).
//!
//! containerd writes the runtime options to stdin; the reply repeats them, as that of its own shim does, and nothing in it depends on
//! them. There are no annotations: the one that containerd reads lists the mounts that its mount manager is to leave to the shim, and
//! those of no kind are.

use std::io::Read;

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use libcontainer::Error;
use protobuf::well_known_types::any::Any;
use protobuf::{Message, MessageField};

const NAME: &str = "io.containerd.garboard.v2";
/// Under this URL containerd expects the OCI features document as JSON (typeurl's name for the Go type).
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// As much of stdin as containerd's own shim reads.
const LONGEST: u64 = 10 << 20;

/// The message. What stands on stdin is read to its end, so that its writer is not told that nobody wanted it.
pub fn runtime_info() -> Result<Vec<u8>, Error> {
    let mut input = Vec::new();
    // What cannot be read or understood has no place in the reply, and no part in it.
    let _ = std::io::stdin()
        .lock()
        .take(LONGEST)
        .read_to_end(&mut input);
    let options = Any::parse_from_bytes(&input).ok();
    let options = options.filter(|any| !any.type_url.is_empty());
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("GARBOARD_COMMIT").to_owned(),
            ..RuntimeVersion::new()
        }),
        options: options.into(),
        features: MessageField::some(Any {
            type_url: FEATURES.to_owned(),
            value: libcontainer::features()?.into(),
            ..Any::new()
        }),
        ..RuntimeInfo::new()
    };
    Ok(info
        .write_to_bytes()
        .expect("a message without required fields encodes"))
}

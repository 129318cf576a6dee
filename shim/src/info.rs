//! The reply to `-info`: containerd's `RuntimeInfo` (api/types/introspection.proto). The options that containerd writes to stdin are not
//! read: none has an effect here.

use libcontainer::Error;

use crate::protobuf::Message;

const NAME: &str = "io.containerd.garboard.v2";
/// Under this URL containerd expects the OCI features document as JSON (typeurl's name for the Go type).
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// The message: 1 name, 2 version (1 version, 2 revision), 4 features (an Any: 1 type URL, 2 value).
pub fn runtime_info() -> Result<Vec<u8>, Error> {
    let version = Message::default()
        .field(1, env!("CARGO_PKG_VERSION"))
        .field(2, env!("GARBOARD_COMMIT"));
    let features = Message::default()
        .field(1, FEATURES)
        .field(2, libcontainer::features()?);
    Ok(Message::default()
        .field(1, NAME)
        .field(2, version)
        .field(4, features)
        .into_bytes())
}

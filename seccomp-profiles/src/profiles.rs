//! The profiles that come with this crate. Each rule has a comment that says why it is there.

/// What a container without a profile of its own may call: what ordinary programs need.
pub const DEFAULT: &str = include_str!("../profiles/default.json");

/// For programs that work on files and their own memory; needs `process.noNewPrivileges`.
pub const STRICT: &str = include_str!("../profiles/strict.json");

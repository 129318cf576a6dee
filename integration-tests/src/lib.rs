//! Judges an OCI runtime from outside.

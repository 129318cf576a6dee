//! Plans of interesting configurations: their order, their text, and their way to the stage and back.

mod encoding;
mod failure;
mod fixture;
mod order;
mod snapshot;

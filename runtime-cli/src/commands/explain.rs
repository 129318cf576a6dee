//! `garboard explain`.

use std::path::Path;

use libcontainer::Format;

use super::Invocation;
use crate::failure::Failure;
use crate::output;
use crate::table::flags;

/// Prints the plan of a bundle.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let format = match invocation
        .matches
        .text(&flags::EXPLAIN_FORMAT)?
        .unwrap_or("text")
    {
        "text" => Format::Text,
        "json" => Format::Json,
        _ => return Err(Failure::new("invalid format option")),
    };
    let bundle = invocation
        .matches
        .positionals
        .first()
        .map_or(Path::new("."), Path::new);
    output::print(&libcontainer::explain(bundle, format)?)?;
    Ok(0)
}

//! `garboard generate`: the files that `make install` installs, made from the table.

use std::path::Path;

use super::Invocation;
use crate::arguments::UsageError;
use crate::failure::Failure;
use crate::{completions, man, output};

/// Writes the manual pages, or prints a completion script.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    let script = match invocation.matches.positional(0)? {
        "bash" => completions::bash(),
        "zsh" => completions::zsh(),
        "fish" => completions::fish(),
        "man" => {
            let directory =
                invocation.matches.positionals.get(1).ok_or_else(|| {
                    UsageError("\"generate man\" requires a directory".to_owned())
                })?;
            return write_pages(Path::new(directory));
        }
        other => {
            return Err(UsageError(format!(
                "nothing is called {other:?}; there are man, bash, zsh and fish"
            ))
            .into());
        }
    };
    output::print(&script)?;
    Ok(0)
}

fn write_pages(directory: &Path) -> Result<u8, Failure> {
    for (name, text) in man::pages() {
        let path = directory.join(name);
        std::fs::write(&path, text)
            .map_err(|why| Failure::new(format!("{}: {why}", path.display())))?;
    }
    Ok(0)
}

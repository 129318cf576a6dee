//! `garboard create`.

use super::{Invocation, launch};
use crate::failure::{FAILED, Failure};

/// Makes the container and leaves it waiting for `start`.
pub fn run(invocation: &Invocation) -> Result<u8, Failure> {
    create(invocation).map_err(|failure| failure.within("garboard create failed", FAILED))
}

fn create(invocation: &Invocation) -> Result<u8, Failure> {
    let options = launch::options(invocation, launch::Attachment::Detached)?;
    let container =
        invocation
            .runtime()?
            .create(invocation.id()?, &launch::bundle(invocation), &options)?;
    invocation.warn(container.warnings());
    Ok(0)
}

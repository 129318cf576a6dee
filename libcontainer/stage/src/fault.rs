//! How a step fails: the call and the errno. The parent, which knows the plan, makes the sentence of it.

use rustix::io::Errno;

use crate::message::Call;

/// A call inside a step that the kernel (or, with [`Call::Check`], the stage) refused.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub call: Call,
    pub errno: i32,
    /// What helps to tell which of several like calls it was: the point and index of a hook.
    pub argument: u64,
}

pub type Result<T> = core::result::Result<T, Fault>;

impl Fault {
    pub fn new(call: Call, errno: Errno) -> Fault {
        Fault {
            call,
            errno: errno.raw_os_error(),
            argument: 0,
        }
    }

    /// Something the stage found wrong by itself.
    pub fn check(errno: Errno) -> Fault {
        Fault::new(Call::Check, errno)
    }
}

/// Names the call of a result.
pub trait On<T> {
    fn on(self, call: Call) -> Result<T>;
}

impl<T> On<T> for core::result::Result<T, Errno> {
    fn on(self, call: Call) -> Result<T> {
        self.map_err(|errno| Fault::new(call, errno))
    }
}

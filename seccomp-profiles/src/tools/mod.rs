//! For the people who write profiles: what is wrong with one, what it does to a call and why, how two differ, what a recording needs of it.
//!
//! All of it reads the same [`Ruleset`](crate::Ruleset) that the compiler lays out, so what is explained is what is loaded.

mod check;
mod diff;
mod explain;
mod recording;

pub use check::{Report, Warning, WarningKind, check};
pub use diff::{Difference, diff};
pub use explain::{Explanation, Question, explain, overview};
pub use recording::{Recording, trim};

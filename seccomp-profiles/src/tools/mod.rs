//! For the people who write profiles: what is wrong with one, what it does to a call and why, how two differ, what a recording needs of it; and what
//! filters do that are loaded already.
//!
//! What is said of profiles is read from the same [`Ruleset`](crate::Ruleset) that the compiler lays out, so what is explained is loaded.

mod check;
mod diff;
mod explain;
mod listing;
mod outcomes;
mod recording;

pub use check::{Report, Warning, WarningKind, check};
pub use diff::{Difference, diff};
pub use explain::{Explanation, Question, explain, overview};
pub use listing::Listing;
pub use outcomes::{Outcome, decide, outcomes};
pub use recording::{Recording, trim};

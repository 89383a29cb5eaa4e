//! Trace to finding: pure functions, one file per question. No async, no I/O, no clock; `now` is an argument.
//!
//! [`waterfall`] answers "where did the time go", [`summary`] "what was this trace". Both stand on [`tree`] (shape) and
//! [`timeline`] (times). Findings derive `Serialize` and are the JSON contract: there is no second copy of them. Odd
//! traces are no errors: the answer comes with [`notes`].
//!
//! What stays true: nothing here panics or recurses on any trace, costs are O(n log n) in its spans, and the same spans
//! give the same answer in whatever order they came.

pub mod critical_path;
pub mod duration;
mod layout;
pub mod notes;
pub mod self_time;
pub mod skew;
pub mod summary;
pub mod timeline;
pub mod tree;
pub mod usage;
pub mod waterfall;
pub mod window;

#[cfg(test)]
mod tests;

//! The nouns: plain values without I/O and without a framework. Every other room speaks in them.

pub mod attributes;
pub mod content;
pub mod ids;
pub mod limits;
pub mod merge;
pub mod money;
pub mod rollup;
pub mod search;
pub mod sketch;
pub mod span;
pub mod tenant;
pub mod time;
pub mod trace;

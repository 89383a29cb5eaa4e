//! The handlers, one file per subject.

pub mod executions;
pub mod health;
pub mod ingest;
pub mod levers;
pub mod pins;
pub mod traces;
pub mod waterfall;

//! Tracefall: spans over HTTP into your own database, and answers out of it.
//!
//! The rooms, from the ground up; imports go down only (`tests/it/borders.rs` holds them to it).
//!
//! - floor 0: [`clock`], [`model`]: plain values
//! - floor 1: [`wire`]: pure functions
//! - floor 2: [`store`]: durable state, the only SQL

pub mod access;
pub mod clock;
pub mod meters;
pub mod model;
pub mod settings;
pub mod store;
pub mod telemetry;
pub mod wire;

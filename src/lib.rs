//! Tracefall: spans over HTTP into your own database, and answers out of it.
//!
//! The rooms, from the ground up; imports go down only (`tests/it/borders.rs` holds them to it).
//!
//! - floor 0: [`clock`], [`model`]: plain values
//! - floor 1: [`wire`], [`analysis`], [`render`]: pure functions
//! - floor 2: [`store`]: durable state, the only SQL

pub mod analysis;
pub mod clock;
pub mod model;
pub mod render;
pub mod store;
pub mod wire;

//! Tracefall: spans over HTTP into your own database, and answers out of it.
//!
//! The rooms, from the ground up; imports go down only (`tests/it/borders.rs` holds them to it). ARCHITECTURE.md is the
//! map and follows one span in and one question out.
//!
//! - floor 0, plain values: [`model`], [`clock`], [`meters`], [`settings`]
//! - floor 1, pure functions: [`wire`] (bytes to spans and back), [`analysis`] (a trace to a finding), [`render`] (a
//!   finding to text), [`redact`] (spans without their secrets), [`demo`] (synthetic traffic and the truth about it), [`levers`] (which spans are not kept),
//!   [`checkup`] (facts about a store to findings), [`sizing`] (traffic to the room that it takes)
//! - floor 2, durable state: [`store`], the only SQL, and [`journal`], what was accepted until the store has it
//! - floor 3: [`pipeline`] (the write path), [`query`] (the read path), [`access`] (who may)
//! - floor 4, faces: [`http`], [`cli`]
//! - floor 5: [`telemetry`], [`app`]

pub mod access;
pub mod analysis;
pub mod app;
pub mod checkup;
pub mod cli;
pub mod clock;
pub mod demo;
pub mod http;
pub mod journal;
pub mod levers;
pub mod meters;
pub mod model;
pub mod pipeline;
pub mod query;
pub mod redact;
pub mod render;
pub mod settings;
pub mod sizing;
pub mod store;
pub mod telemetry;
pub mod wire;

//! The handlers, one file per subject.

pub mod delete;
pub mod doctor;
pub mod executions;
pub mod grpc;
pub mod health;
pub mod ingest;
pub mod jaeger;
pub mod levers;
pub mod otlp;
pub mod pins;
pub mod traces;
pub mod waterfall;
pub mod zipkin;

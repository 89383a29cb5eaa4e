//! The integration tests: one binary, so that the library is linked once; every other file is a module of it.

mod access;
mod bad_input;
mod borders;
mod cli;
mod clients;
mod crash;
mod demo;
mod docs;
mod doctor;
mod faults;
mod http;
mod import;
mod kill;
mod levers;
mod merge;
mod neighbours;
mod otlp;
mod packaging;
mod parity;
mod pipeline;
mod retention;
mod runbook;
mod sql;
mod store_suite;
mod support;
mod wire;

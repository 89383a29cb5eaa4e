//! One integration binary; every other file is a module of it.

mod access;
mod bad_input;
mod borders;
mod cli;
mod docs;
mod http;
mod kill;
mod merge;
mod pipeline;
mod support;

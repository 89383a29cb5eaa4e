//! The thin binary: arguments, settings, one call, exit code.

use std::process::ExitCode;

use tracefall::{app, cli, telemetry};

/// Spans are many small allocations made on one thread and freed on another, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What the allocator reads before main, as a C string: an arena a core in place of four, and a second, not ten, until freed
/// pages go back. Spans come and go by batches of megabytes, and what is kept of them is kept once an arena: catching up
/// after an outage peaks at 160 MB with this and at 210 MB without (docs/benchmarks.md). `_RJEM_MALLOC_CONF` overrides it.
///
/// Safety of the name: it is jemalloc's own, declared weak there so that programs define it; its type in C is a pointer to
/// bytes, which a reference to an array of them is.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 53] = b"narenas_ratio:1,dirty_decay_ms:1000,muzzy_decay_ms:0\0";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = cli::parse();
    let done = match arguments.command() {
        cli::Command::Serve(serve) => match arguments.settings(serve.overrides()) {
            Ok(settings) => match telemetry::install_logs(&settings.telemetry) {
                Ok(()) => app::run(&settings).await.map_err(|error| cli::CliError::Start(Box::new(error))),
                Err(error) => Err(cli::CliError::Start(Box::new(error))),
            },
            Err(error) => Err(error),
        },
        _ => cli::run(&arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tracefall: {error}");
            ExitCode::FAILURE
        }
    }
}

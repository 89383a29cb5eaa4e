//! The thin binary: arguments, settings, one call, exit code.

use std::process::ExitCode;

use tracefall::{app, cli, telemetry};

/// Spans are many small allocations made on one thread and freed on another, which glibc's allocator is slow at.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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

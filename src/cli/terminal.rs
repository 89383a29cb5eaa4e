//! How a command writes: as wide as the terminal, in colour only on one.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::render::Style;

/// How the answer looks.
#[derive(Debug, Clone, Args)]
pub struct Look {
    /// The answer as JSON, as the server gives it.
    #[arg(long)]
    json: bool,
    /// Columns of the drawing [default: the terminal's, else 100].
    #[arg(long, value_parser = clap::value_parser!(u16).range(40..=400))]
    width: Option<u16>,
    /// When to use colours.
    #[arg(long, value_enum, default_value_t = Color::Auto)]
    color: Color,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    Always,
    Never,
}

const DEFAULT_WIDTH: usize = 100;

impl Look {
    pub fn is_json(&self) -> bool {
        self.json
    }

    pub fn style(&self) -> Style {
        let terminal = terminal_size::terminal_size().map(|(width, _)| usize::from(width.0));
        let width = self.width.map(usize::from).or(terminal).unwrap_or(DEFAULT_WIDTH).clamp(40, 400);
        let color = match self.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Style { width, color }
    }
}

/// Progress on standard error: one line written over and over on a terminal, else a line now and then.
pub struct Progress {
    begun: Instant,
    told: Option<Instant>,
    terminal: bool,
}

const ON_A_TERMINAL: Duration = Duration::from_millis(200);
const ELSEWHERE: Duration = Duration::from_secs(5);

impl Progress {
    pub fn new() -> Self {
        Self { begun: Instant::now(), told: None, terminal: std::io::stderr().is_terminal() }
    }

    /// Tells what `line` makes of the time since the beginning, if it is time for it, or `at_once`.
    pub fn tell(&mut self, at_once: bool, line: impl FnOnce(Duration) -> String) {
        let every = if self.terminal { ON_A_TERMINAL } else { ELSEWHERE };
        if self.told.unwrap_or(self.begun).elapsed() < every && !at_once {
            return;
        }
        self.told = Some(Instant::now());
        let line = line(self.begun.elapsed());
        // Nobody may be reading it.
        let _ = match self.terminal {
            true => write!(std::io::stderr(), "\r\x1b[K{line}"),
            false => writeln!(std::io::stderr(), "{line}"),
        };
    }

    /// Leaves the line.
    pub fn end(&self) {
        if self.terminal && self.told.is_some() {
            eprintln!();
        }
    }
}

/// How many in a second.
pub fn rate(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(0.001)
}

/// Writes `text` to standard output. A reader that went away (`| head`) is no error.
///
/// # Errors
/// Any other failure to write.
pub fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| match text.ends_with('\n') {
        true => out.flush(),
        false => out.write_all(b"\n").and_then(|()| out.flush()),
    });
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

//! How a command writes: as wide as the terminal, in colour only on one.

use std::io::{IsTerminal, Write};

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

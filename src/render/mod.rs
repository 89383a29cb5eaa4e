//! Findings as text for a terminal. Pure: the caller says how wide it is and whether it knows colours.
//!
//! Owns what a reader sees: columns, bars, marks, colours. Leaves what is true to [`crate::analysis`],
//! [`crate::checkup`] and [`crate::sizing`]. Text of traced
//! programs passes [`text::fit`], so no escape sequence of theirs reaches the terminal.

pub mod bar;
pub mod checkup;
pub mod plan;
pub mod text;
pub mod traces;
pub mod waterfall;

#[cfg(test)]
mod tests;

use crate::model::span::Outcome;
use text::width;

/// What the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns. Less than [`Style::MIN_WIDTH`] is drawn as that.
    pub width: usize,
    /// Whether ANSI colours (SGR) may be used.
    pub color: bool,
}

impl Style {
    pub const MIN_WIDTH: usize = 40;

    /// Columns to draw in.
    pub fn columns(&self) -> usize {
        self.width.max(Self::MIN_WIDTH)
    }
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 100, color: false }
    }
}

/// What a piece of text is, and so its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    Plain,
    Title,
    Faint,
    Good,
    Bad,
    Busy,
    Critical,
}

impl Ink {
    /// The parameter of SGR, ECMA-48 section 8.3.117; empty for none.
    fn sgr(self) -> &'static str {
        match self {
            Ink::Plain => "",
            Ink::Title => "1",
            Ink::Faint => "2",
            Ink::Good => "32",
            Ink::Bad => "31",
            Ink::Busy => "33",
            Ink::Critical => "36",
        }
    }

    fn of(status: Option<Outcome>) -> Self {
        match status {
            Some(Outcome::Failed) => Ink::Bad,
            Some(Outcome::Pending | Outcome::Running | Outcome::Abandoned) | None => Ink::Busy,
            Some(Outcome::Completed) => Ink::Good,
            Some(Outcome::Cancelled | Outcome::Skipped) => Ink::Faint,
        }
    }
}

/// One character for a status; `None` stands for a span that has not come.
fn mark(status: Option<Outcome>) -> &'static str {
    match status {
        Some(Outcome::Completed) => "✓",
        Some(Outcome::Failed) => "✗",
        Some(Outcome::Running) => "▶",
        Some(Outcome::Pending) => "○",
        Some(Outcome::Cancelled) => "⊘",
        Some(Outcome::Skipped) => "⊖",
        Some(Outcome::Abandoned) => "!",
        None => "?",
    }
}

/// A line as it grows, with the columns it takes.
struct Line {
    text: String,
    width: usize,
    color: bool,
}

impl Line {
    fn new(style: &Style) -> Self {
        Self { text: String::new(), width: 0, color: style.color }
    }

    /// Adds `text`, which holds no control characters.
    fn push(&mut self, ink: Ink, text: &str) {
        self.width += width(text);
        if self.color && ink != Ink::Plain && !text.trim().is_empty() {
            self.text.push_str(&format!("\u{1b}[{}m{text}\u{1b}[0m", ink.sgr()));
        } else {
            self.text.push_str(text);
        }
    }

    /// Adds spaces up to the column `to`.
    fn pad(&mut self, to: usize) {
        let missing = to.saturating_sub(self.width);
        self.text.extend(std::iter::repeat_n(' ', missing));
        self.width += missing;
    }

    /// Adds `text` so that it ends at the column `to`.
    fn push_right(&mut self, ink: Ink, text: &str, to: usize) {
        self.pad(to.saturating_sub(width(text)));
        self.push(ink, text);
    }

    fn finish(self, into: &mut String) {
        into.push_str(self.text.trim_end_matches(' '));
        into.push('\n');
    }
}

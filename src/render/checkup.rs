//! The findings of `tracefall doctor`, worst last word: a line each, and what heals it below.

use crate::checkup::{Finding, Fix, Report, State};

use super::text::fit;
use super::{Ink, Line, Style};

/// Columns before a finding's value.
const VALUE_FROM: usize = 24;

/// Draws every finding in the order given, then how many there are of each state.
pub fn draw(report: &Report, style: &Style) -> String {
    let mut text = String::new();
    let mut line = Line::new(style);
    line.push(Ink::Title, &fit(&report.store, style.columns()));
    line.finish(&mut text);
    for finding in &report.findings {
        draw_finding(finding, style, &mut text);
    }
    text.push('\n');
    let mut line = Line::new(style);
    for (index, state) in [State::Fail, State::Warn, State::Unknown, State::Ok].into_iter().enumerate() {
        if index > 0 {
            line.push(Ink::Plain, ", ");
        }
        let count = report.count(state);
        let ink = if count > 0 { ink(state) } else { Ink::Faint };
        line.push(ink, &format!("{count} {}", state.name()));
    }
    line.finish(&mut text);
    text
}

/// Nothing is cut: what is too wide for the terminal is wrapped by it, and a command must be whole to be copied.
fn draw_finding(finding: &Finding, style: &Style, text: &mut String) {
    let mut line = Line::new(style);
    line.push(ink(finding.state), mark(finding.state));
    line.push(Ink::Plain, " ");
    line.push(Ink::Plain, finding.check);
    line.pad(VALUE_FROM);
    if line.width > VALUE_FROM {
        line.push(Ink::Plain, " ");
    }
    line.push(Ink::Plain, &safe(&finding.value));
    if let Some(about) = &finding.about {
        line.push(Ink::Faint, &format!("  [{}]", safe(about)));
    }
    line.finish(text);
    if matches!(finding.state, State::Ok) {
        return;
    }
    note(Ink::Faint, &format!("want: {}", safe(&finding.limit)), style, text);
    if let Some(fix) = &finding.fix {
        let how = match fix {
            Fix::Shell(_) => "run",
            Fix::Sql(_) => "SQL",
            Fix::Setting(_) => "set",
            Fix::Words(_) => "do",
        };
        note(Ink::Critical, &format!("{how}: {}", safe(fix.text())), style, text);
    }
}

fn note(ink: Ink, words: &str, style: &Style, text: &mut String) {
    let mut line = Line::new(style);
    line.pad(VALUE_FROM);
    line.push(ink, words);
    line.finish(text);
}

/// Names of tables and words of servers reach the terminal as text alone.
fn safe(words: &str) -> String {
    fit(words, usize::MAX / 16)
}

fn ink(state: State) -> Ink {
    match state {
        State::Ok => Ink::Good,
        State::Unknown => Ink::Faint,
        State::Warn => Ink::Busy,
        State::Fail => Ink::Bad,
    }
}

fn mark(state: State) -> &'static str {
    match state {
        State::Ok => "✓",
        State::Unknown => "?",
        State::Warn => "!",
        State::Fail => "✗",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(state: State, value: &str, fix: Option<Fix>) -> Finding {
        let about = Some("store.url".to_owned());
        Finding { check: "latency", about, state, value: value.into(), limit: "below 20 ms".into(), fix }
    }

    fn report() -> Report {
        let findings = vec![
            finding(State::Ok, "1.2 ms", None),
            finding(State::Warn, "30 ms\u{1b}[2J", Some(Fix::Shell("tracefall migrate up".into()))),
        ];
        Report { state: State::Warn, store: "SQLite file a.db".into(), findings }
    }

    #[test]
    fn what_is_not_well_comes_with_what_heals_it() {
        let drawn = draw(&report(), &Style::default());
        assert_eq!(
            drawn,
            "SQLite file a.db\n\
             ✓ latency               1.2 ms  [store.url]\n\
             ! latency               30 ms\\u{1b}[2J  [store.url]\n\
             \u{20}                       want: below 20 ms\n\
             \u{20}                       run: tracefall migrate up\n\
             \n\
             0 fail, 1 warn, 0 unknown, 1 ok\n"
        );
    }

    #[test]
    fn colours_come_only_when_asked_for() {
        assert!(!draw(&report(), &Style::default()).contains("\u{1b}["));
        assert!(draw(&report(), &Style { width: 100, color: true }).contains("\u{1b}[33m!\u{1b}[0m"));
    }
}

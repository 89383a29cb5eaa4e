//! A waterfall as a table with a tree and bars.

use std::collections::HashMap;

use crate::analysis::duration::human;
use crate::analysis::waterfall::{Flag, Row, Waterfall};
use crate::model::ids::SpanId;
use crate::model::span::Outcome;

use super::bar::Axis;
use super::text::{fit, width, wrap};
use super::{Ink, Line, Style, mark};

/// Draws `waterfall`: a header, a line for each row with its place in time, what failed and why, and the notes. No line
/// is wider than the style's columns.
pub fn draw(waterfall: &Waterfall, style: &Style) -> String {
    let mut text = String::new();
    header(waterfall, style, &mut text);
    if !waterfall.rows.is_empty() {
        text.push('\n');
        table(waterfall, style, &mut text);
        text.push('\n');
        legend(waterfall, style, &mut text);
    }
    for note in &waterfall.notes {
        bullet("•", &note.message, style, &mut text);
    }
    if let Some(truncated) = &waterfall.truncated {
        let next = truncated.next.as_deref().map_or(String::new(), |next| format!("; {next}"));
        bullet("…", &format!("{}{next}", truncated.what), style, &mut text);
    }
    text
}

fn header(waterfall: &Waterfall, style: &Style, text: &mut String) {
    let status = waterfall.status;
    let subject = match waterfall.execution_ids.as_slice() {
        [] => waterfall.root_operation.clone().unwrap_or_else(|| "trace".to_owned()),
        [one] => format!("execution {one}"),
        [first, rest @ ..] => format!("execution {first} and {} more", rest.len()),
    };
    let how_long = match status {
        Outcome::Pending | Outcome::Running => "for",
        Outcome::Completed | Outcome::Skipped => "in",
        Outcome::Failed | Outcome::Cancelled | Outcome::Abandoned => "after",
    };
    let outcome = format!(" {status} {how_long} {}", human(waterfall.duration_ns));
    let mut title = Line::new(style);
    title.push(Ink::of(Some(status)), mark(Some(status)));
    title.push(Ink::Plain, " ");
    title.push(Ink::Title, &fit(&subject, style.columns().saturating_sub(title.width + width(&outcome))));
    title.push(Ink::of(Some(status)), &outcome);
    title.finish(text);

    let started_at = waterfall.started_at.to_string().replace('T', " ").replace('Z', " UTC");
    flow(&[format!("trace {}", waterfall.trace_id), started_at], style, text);
    flow(&facts(waterfall), style, text);
    if let Some(error) = &waterfall.error {
        let mut line = Line::new(style);
        let place = error.operation.as_deref().or(error.service.as_deref()).unwrap_or("a span");
        let why = error.message.as_deref().or(error.error_type.as_deref()).unwrap_or("it does not say why");
        line.push(Ink::Bad, &fit(&format!("  ✗ {place}: {why}"), style.columns()));
        line.finish(text);
    }
}

/// Counts and sums, those that say something.
fn facts(waterfall: &Waterfall) -> Vec<String> {
    let count = |number: u32, one: &str, many: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{number} {many}")),
    };
    let services = match waterfall.services.as_slice() {
        [] => None,
        [only] => Some(format!("service {only}")),
        several => Some(format!("{} services", several.len())),
    };
    let tokens = waterfall.tokens.map(|tokens| match (tokens.input, tokens.output) {
        (Some(input), Some(output)) => format!("{input} → {output} tokens"),
        (input, output) => format!("{} tokens", input.or(output).unwrap_or(0)),
    });
    [
        Some(count(waterfall.span_count, "span", "spans").unwrap_or_else(|| "no spans".to_owned())),
        count(waterfall.error_count, "failed", "failed"),
        count(waterfall.open_count, "open", "open"),
        count(waterfall.orphan_count, "orphan", "orphans"),
        services,
        tokens,
        waterfall.cost_usd.as_ref().map(|cost| format!("${cost}")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Parts in a row, as many to a line as fit.
fn flow(parts: &[String], style: &Style, text: &mut String) {
    let mut line = Line::new(style);
    for part in parts {
        let part = fit(part, style.columns() - 2);
        if line.width > 0 && line.width + 3 + width(&part) > style.columns() {
            std::mem::replace(&mut line, Line::new(style)).finish(text);
        }
        line.push(Ink::Faint, if line.width == 0 { "  " } else { " · " });
        line.push(Ink::Plain, &part);
    }
    line.finish(text);
}

/// The columns of the table, by where they end or begin.
struct Columns {
    /// Width of the service's names; 0 if no row has one.
    service: usize,
    label_from: usize,
    label: usize,
    duration_to: usize,
    bar_from: usize,
    axis: Axis,
    /// Columns for each level of the tree.
    step: usize,
    /// Levels that are drawn with guides; deeper rows show their depth as a number.
    max_levels: usize,
}

impl Columns {
    fn new(waterfall: &Waterfall, style: &Style) -> Self {
        let columns = style.columns();
        let widest = |of: &dyn Fn(&Row) -> usize| waterfall.rows.iter().map(of).max().unwrap_or(0);
        let cap = columns / 6;
        let service = widest(&|row| row.service.as_deref().map_or(0, |service| width(&fit(service, cap))));
        let service = if service == 0 { 0 } else { service.max("service".len()) };
        let label_from = if service == 0 { 0 } else { service + 2 };
        let duration = widest(&|row| width(&duration(row))).max(4);
        let step = if columns >= 80 { 3 } else { 2 };
        // A quarter of the width is the least that bars need to be told apart.
        let room = columns - label_from - duration - 4 - (columns / 4).max(10);
        let max_levels = (room / 2 / step).max(1);
        let needed = widest(&|row| {
            let levels = (row.depth as usize).min(max_levels);
            let number = if row.depth as usize > max_levels { 2 + row.depth.to_string().len() } else { 0 };
            levels * step + number + width(&label(row, room))
        });
        let label = needed.clamp("operation".len(), room);
        let duration_to = label_from + label + 2 + duration;
        let bar_from = duration_to + 2;
        let axis = Axis { extent_ns: waterfall.extent_ns, cells: columns - bar_from };
        Self { service, label_from, label, duration_to, bar_from, axis, step, max_levels }
    }
}

fn table(waterfall: &Waterfall, style: &Style, text: &mut String) {
    let columns = Columns::new(waterfall, style);
    let mut head = Line::new(style);
    head.push(Ink::Faint, &fit("service", columns.service));
    head.pad(columns.label_from);
    head.push(Ink::Faint, "operation");
    head.push_right(Ink::Faint, "time", columns.duration_to);
    head.pad(columns.bar_from);
    head.push(Ink::Faint, &columns.axis.ticks());
    head.finish(text);

    let stretches = stretches_by_span(waterfall);
    let mut guides = Guides::new(&waterfall.rows);
    let mut last_message = "";
    for (index, row) in waterfall.rows.iter().enumerate() {
        let on_path = stretches.get(&row.span_id).map_or(&[][..], Vec::as_slice);
        draw_row(row, &guides.before(index, row, &columns), on_path, &columns, style, text);
        let message = row.error.as_ref().and_then(|error| error.message.as_deref().or(error.error_type.as_deref()));
        if let Some(message) = message.filter(|message| *message != last_message) {
            let mut line = Line::new(style);
            line.pad(columns.label_from);
            line.push(Ink::Faint, &guides.below(index, row, &columns));
            line.push(Ink::Bad, &fit(message, style.columns().saturating_sub(line.width)));
            line.finish(text);
            last_message = message;
        }
    }
}

fn draw_row(row: &Row, guide: &str, on_path: &[(i64, i64)], columns: &Columns, style: &Style, text: &mut String) {
    let mut line = Line::new(style);
    line.push(Ink::Faint, &fit(row.service.as_deref().unwrap_or_default(), columns.service));
    line.pad(columns.label_from);
    line.push(Ink::Faint, guide);
    let room = (columns.label_from + columns.label).saturating_sub(line.width);
    let ink = match row.status {
        Some(Outcome::Completed) => Ink::Plain,
        status => Ink::of(status),
    };
    line.push(ink, &label(row, room));
    line.push_right(Ink::Plain, &duration(row), columns.duration_to);
    line.pad(columns.bar_from);
    let bar_ink = match row.status {
        Some(Outcome::Completed) | None if row.critical_ns > 0 => Ink::Critical,
        Some(Outcome::Completed) | None => Ink::Faint,
        status => Ink::of(status),
    };
    line.push(bar_ink, &columns.axis.bar(row.offset_ns, row.length_ns, on_path));
    line.finish(text);
}

/// What a row says of itself: a mark unless all is well, its name, retries, and how much is not shown below it.
fn label(row: &Row, columns: usize) -> String {
    let is_placeholder = row.flags.contains(&Flag::Placeholder);
    let mark = match row.status {
        Some(Outcome::Completed) => String::new(),
        status => format!("{} ", mark(status)),
    };
    let retries = row.retry_count.filter(|count| *count > 0).map_or(String::new(), |count| format!(" ↻{count}"));
    let left_out = if row.left_out > 0 { format!(" (+{} more)", row.left_out) } else { String::new() };
    let room = columns.saturating_sub(width(&mark) + width(&retries) + width(&left_out));
    let name = match &row.operation {
        Some(operation) => fit(operation, room),
        None if is_placeholder => fit(&format!("parent {}", row.span_id), room),
        None => fit(&format!("span {}", row.span_id), room),
    };
    fit(&format!("{mark}{name}{retries}{left_out}"), columns)
}

/// `…` follows the time of what still runs; a time that is not known is `?`.
fn duration(row: &Row) -> String {
    match (row.duration_ns, row.elapsed_ns) {
        (Some(ns), _) => human(ns),
        (None, Some(_)) if row.flags.contains(&Flag::UnknownStart) => "…".to_owned(),
        (None, Some(ns)) => format!("{}…", human(ns)),
        (None, None) if row.flags.contains(&Flag::Placeholder) => String::new(),
        (None, None) => "?".to_owned(),
    }
}

fn stretches_by_span(waterfall: &Waterfall) -> HashMap<SpanId, Vec<(i64, i64)>> {
    let mut by_span: HashMap<SpanId, Vec<(i64, i64)>> = HashMap::new();
    for stretch in &waterfall.critical_path {
        by_span.entry(stretch.span_id).or_default().push((stretch.offset_ns, stretch.duration_ns));
    }
    by_span
}

/// The lines of the tree, drawn as its rows are walked.
struct Guides {
    /// Of every row, whether no sibling follows it.
    is_last: Vec<bool>,
    /// Of every row, whether the next one hangs under it.
    has_child: Vec<bool>,
    /// Of every level above the row at hand, whether its line goes on.
    goes_on: Vec<bool>,
}

impl Guides {
    fn new(rows: &[Row]) -> Self {
        let mut is_last = vec![true; rows.len()];
        let mut follows: Vec<bool> = Vec::new();
        for (index, row) in rows.iter().enumerate().rev() {
            let depth = row.depth as usize;
            follows.resize(depth + 1, false);
            is_last[index] = !follows[depth];
            follows[depth] = true;
        }
        let has_child = (1..=rows.len()).map(|next| rows.get(next).is_some_and(|row| row.depth > rows[next - 1].depth));
        Self { is_last, has_child: has_child.collect(), goes_on: Vec::new() }
    }

    /// What stands before the name of a row. Rows must be asked for in order.
    fn before(&mut self, index: usize, row: &Row, columns: &Columns) -> String {
        let depth = row.depth as usize;
        self.goes_on.resize(depth + 1, false);
        self.goes_on[depth] = !self.is_last[index];
        if depth == 0 {
            return String::new();
        } else if depth > columns.max_levels {
            return format!("{}⋯{depth} ", self.lines(columns.max_levels, columns));
        }
        let corner = match (self.is_last[index], columns.step) {
            (false, 3) => "├─ ",
            (true, 3) => "└─ ",
            (false, _) => "├ ",
            (true, _) => "└ ",
        };
        format!("{}{corner}", self.lines(depth - 1, columns))
    }

    /// What stands before a second line of the row that was asked for last.
    fn below(&self, index: usize, row: &Row, columns: &Columns) -> String {
        let depth = row.depth as usize;
        let lines = self.lines(depth.min(columns.max_levels), columns);
        let child = if self.has_child[index] && depth < columns.max_levels { "│" } else { " " };
        format!("{lines}{child:<step$}", step = columns.step)
    }

    /// The lines of levels 1 to `levels`.
    fn lines(&self, levels: usize, columns: &Columns) -> String {
        let line = |goes_on: &bool| format!("{:<step$}", if *goes_on { "│" } else { " " }, step = columns.step);
        self.goes_on.iter().skip(1).take(levels).map(line).collect()
    }
}

/// What the signs mean, those that occur.
fn legend(waterfall: &Waterfall, style: &Style, text: &mut String) {
    let any = |of: &dyn Fn(&Row) -> bool| waterfall.rows.iter().any(of);
    let status = |status: Outcome| any(&|row| row.status == Some(status));
    let entries = [
        (true, "█ critical path"),
        (true, "░ waiting, or off that path"),
        (status(Outcome::Failed), "✗ failed"),
        (status(Outcome::Running), "▶ running"),
        (status(Outcome::Pending), "○ pending"),
        (status(Outcome::Cancelled), "⊘ cancelled"),
        (status(Outcome::Skipped), "⊖ skipped"),
        (status(Outcome::Abandoned), "! abandoned"),
        (any(&|row| row.flags.contains(&Flag::Placeholder)), "? not arrived"),
        (any(&|row| row.retry_count.is_some_and(|count| count > 0)), "↻ retries"),
    ];
    let entries: Vec<String> =
        entries.iter().filter(|(occurs, _)| *occurs).map(|(_, entry)| (*entry).to_owned()).collect();
    flow(&entries, style, text);
}

fn bullet(sign: &str, message: &str, style: &Style, text: &mut String) {
    // Longer than this no note of ours is; names in it may be.
    let message = fit(message, 400);
    for (index, part) in wrap(&message, style.columns() - 4).into_iter().enumerate() {
        let mut line = Line::new(style);
        line.push(Ink::Busy, if index == 0 { "  " } else { "" });
        line.push(Ink::Busy, if index == 0 { sign } else { "" });
        line.pad(4);
        line.push(Ink::Plain, &part);
        line.finish(text);
    }
}

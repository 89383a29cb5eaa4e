//! A list of traces, one line each.

use crate::analysis::duration::human;
use crate::model::rollup::TraceRollup;

use super::text::{fit, width};
use super::{Ink, Line, Style, mark};

/// Columns of a full trace id.
const ID: usize = 32;

/// Where the columns of the list begin, for a width.
struct Columns {
    /// Whether there is room for counts and ids.
    counts: bool,
    name_from: usize,
    name_to: usize,
    /// 0 if executions are not shown.
    execution: usize,
    id: usize,
    end: usize,
}

impl Columns {
    fn new(traces: &[TraceRollup], style: &Style) -> Self {
        let end = style.columns();
        let (counts, id) = (end >= 60, if end >= 80 { ID } else { 9 });
        let ids = traces.iter().filter_map(|trace| trace.execution_id.as_deref()).map(|id| width(&fit(id, 16)));
        let execution = ids.max().filter(|_| end >= 100).map_or(0, |widest| widest.max("execution".len()) + 2);
        let name_to = if counts { end - id - 1 - execution } else { end };
        Self { counts, name_from: if counts { 37 } else { 26 }, name_to, execution, id, end }
    }
}

/// Draws `traces` in the order given: start (UTC), status, duration, spans, failed spans, root operation and service,
/// execution, trace id. Below 100 columns executions are left out, below 80 ids are cut, below 60 counts and ids go too.
pub fn draw(traces: &[TraceRollup], style: &Style) -> String {
    if traces.is_empty() {
        return "no traces\n".to_owned();
    }
    let columns = Columns::new(traces, style);
    let mut text = String::new();
    let head = |name: &str| (Ink::Faint, name.to_owned());
    let names =
        [head("start (UTC)"), head(""), head("time"), head("spans"), head("✗"), head("execution"), head("trace")];
    draw_line(names, &columns, style, &mut text, |line, room| line.push(Ink::Faint, &fit("operation", room)));
    for trace in traces {
        let failed = if trace.error_count > 0 { trace.error_count.to_string() } else { String::new() };
        let cells = [
            (Ink::Faint, start(trace)),
            (Ink::of(Some(trace.status)), mark(Some(trace.status)).to_owned()),
            (Ink::Plain, trace.duration_ns.map_or("…".to_owned(), human)),
            (Ink::Faint, trace.span_count.to_string()),
            (Ink::Bad, failed),
            (Ink::Plain, trace.execution_id.clone().unwrap_or_default()),
            (Ink::Faint, trace.trace_id.to_string()),
        ];
        draw_line(cells, &columns, style, &mut text, |line, room| push_name(line, trace, room));
    }
    text
}

fn draw_line(
    [start, mark, time, spans, failed, execution, id]: [(Ink, String); 7],
    columns: &Columns,
    style: &Style,
    text: &mut String,
    push_name: impl Fn(&mut Line, usize),
) {
    let mut line = Line::new(style);
    line.push(start.0, &start.1);
    line.pad(15);
    line.push(mark.0, &mark.1);
    line.push_right(time.0, &time.1, 24);
    if columns.counts {
        line.push_right(spans.0, &spans.1, 31);
        line.push_right(failed.0, &failed.1, 35);
    }
    // Huge numbers push the columns after them to the right, where names give way.
    line.pad(columns.name_from);
    let room = columns.name_to.saturating_sub(line.width);
    push_name(&mut line, room);
    if columns.execution > 0 {
        line.pad(columns.name_to + 1);
        line.push(execution.0, &fit(&execution.1, columns.execution - 2));
    }
    if columns.counts {
        line.pad(columns.end - columns.id);
        line.push(id.0, &fit(&id.1, columns.id));
    }
    line.finish(text);
}

/// `01-05 10:00:00`: month and day; the year is in the trace's own page.
fn start(trace: &TraceRollup) -> String {
    let text = trace.started_at.to_string();
    text.get(5..19).unwrap_or(&text).replace('T', " ")
}

fn push_name(line: &mut Line, trace: &TraceRollup, room: usize) {
    let operation = fit(trace.root_operation.as_deref().unwrap_or("?"), room);
    let left = room.saturating_sub(width(&operation) + 1);
    line.push(Ink::Plain, &operation);
    if let Some(service) = trace.root_service.as_deref().filter(|_| left >= 4) {
        line.push(Ink::Plain, " ");
        line.push(Ink::Faint, &fit(service, left));
    }
}

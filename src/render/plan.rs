//! The answer of `tracefall plan`: a table a store, and its verdict.

use crate::sizing::{Forecast, Plan, Stay, StorePlan, human_bytes, human_count};

use super::{Ink, Line, Style};

/// Where the columns end, but for the first.
const ENDS: [usize; 6] = [26, 38, 50, 63, 77, 90];

/// Draws the plan.
pub fn draw(plan: &Plan, style: &Style) -> String {
    let mut text = String::new();
    let mut line = Line::new(style);
    let (traces, spans) = (plan.traffic.traces_per_day as f64, plan.traffic.spans_per_day as f64);
    line.push(Ink::Title, &format!("{} traces, {} spans a day", human_count(traces), human_count(spans)));
    if let Some(capacity) = plan.capacity_bytes {
        let usable = human_bytes(plan.usable_bytes.unwrap_or_default());
        line.push(Ink::Plain, &format!("; room: {} ({usable} before spans are refused)", human_bytes(capacity as f64)));
    }
    line.finish(&mut text);
    for store in &plan.stores {
        draw_store(store, plan.capacity_bytes.is_some(), style, &mut text);
    }
    text
}

/// `has_end`: whether there is a capacity to be spent.
fn draw_store(plan: &StorePlan, has_end: bool, style: &Style, text: &mut String) {
    text.push('\n');
    let mut line = Line::new(style);
    line.push(Ink::Title, plan.store);
    let cost = format!(
        ": {:.0} B a span, {:.0} B a summary ({})",
        plan.cost.span_bytes, plan.cost.trace_bytes, plan.cost_source
    );
    line.push(Ink::Plain, &cost);
    line.finish(text);
    let names = ["spans", "their room", "summaries", "levels off at", "a day", "full after"];
    row(Ink::Faint, "completed for", &names.map(str::to_owned), style, text);
    for forecast in &plan.forecasts {
        let is_set = forecast.stay == plan.as_set;
        let ink = if is_set { Ink::Title } else { Ink::Plain };
        row(ink, &first(&forecast.stay, is_set), &cells(forecast, has_end), style, text);
    }
    text.push_str(&plan.verdict);
    text.push('\n');
}

fn first(stay: &Stay, is_set: bool) -> String {
    format!("{} days{}", stay.completed_days, if is_set { " *" } else { "" })
}

fn cells(of: &Forecast, has_end: bool) -> [String; 6] {
    let never = if has_end { "never" } else { "" };
    [
        human_count(of.spans),
        human_bytes(of.span_bytes),
        human_bytes(of.rollup_bytes),
        human_bytes(of.level_bytes),
        human_bytes(of.bytes_per_day),
        of.full_in_days.map_or(never.to_owned(), |days| format!("{days:.0} days")),
    ]
}

fn row(ink: Ink, first: &str, cells: &[String; 6], style: &Style, text: &mut String) {
    let mut line = Line::new(style);
    line.push(ink, first);
    for (cell, end) in cells.iter().zip(ENDS) {
        // Huge numbers push the others to the right.
        line.push(Ink::Plain, " ");
        line.push_right(ink, cell, end);
    }
    line.finish(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::retention::{RetentionSettings, StorageSettings};
    use crate::sizing::{Assumptions, POSTGRES, Traffic};

    #[test]
    fn a_plan_is_a_table_and_a_sentence() {
        let plan = crate::sizing::plan(&Assumptions {
            traffic: Traffic { traces_per_day: 4_500, spans_per_day: 22_500 },
            stay: Stay::of(&RetentionSettings::default(), 5.0),
            capacity_bytes: Some(10_000_000_000),
            storage: StorageSettings::default(),
            stores: vec![("PostgreSQL", POSTGRES, "docs/sizing.md".into())],
        });
        let drawn = draw(&plan, &Style::default());
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines[0], "4 500 traces, 22 500 spans a day; room: 10 GB (9.5 GB before spans are refused)");
        assert!(lines[5].starts_with("30 days *") && lines[5].ends_with("never"), "{drawn}");
        assert!(lines.last().unwrap().ends_with("10 GB are enough for ever."), "{drawn}");
        assert!(lines[..7].iter().all(|line| super::super::text::width(line) <= 100), "{drawn}");
    }
}

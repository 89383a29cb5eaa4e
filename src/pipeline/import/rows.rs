//! Rows to spans: the decoder of `POST /v1/spans`, and when the span became known. Pure.

use super::{Plan, Refusal};
use crate::model::span::Span;
use crate::model::time::UnixNanos;
use crate::store::foreign::Row;
use crate::wire::{Carried, DecodeContext, Decoded, Framing, native};

/// A page, decoded.
#[derive(Debug, Default)]
pub(super) struct DecodedRows {
    pub spans: Vec<Span>,
    pub refused: Vec<Refusal>,
}

pub(super) fn spans(rows: Vec<Row>, plan: &Plan, now: UnixNanos) -> DecodedRows {
    let mut decoded = DecodedRows::default();
    match decode(&rows, plan, now) {
        Ok(page) => decoded.take(&rows, page, now),
        // A row that spoils its page (a value that no JSON reader takes) is found by itself.
        Err(_) => {
            for row in &rows {
                match decode(std::slice::from_ref(row), plan, now) {
                    Ok(page) => decoded.take(std::slice::from_ref(row), page, now),
                    Err(reason) => decoded.refused.push(Refusal { row: row.key.clone(), field: None, reason }),
                }
            }
        }
    }
    decoded
}

fn decode(rows: &[Row], plan: &Plan, now: UnixNanos) -> Result<Decoded, String> {
    let mut body = String::with_capacity(2 + rows.iter().map(|row| row.json.len() + 1).sum::<usize>());
    for row in rows {
        body.push(if body.is_empty() { '[' } else { ',' });
        body.push_str(&row.json);
    }
    if rows.is_empty() {
        body.push('[');
    }
    body.push(']');
    let context = DecodeContext { tenant: &plan.tenant, received_at: now, limits: &plan.limits };
    native::decode(body.as_bytes(), Framing::Json, &context, &Carried::default()).map_err(|error| error.to_string())
}

impl DecodedRows {
    /// The good spans stand in the order of their rows, the others tell theirs.
    fn take(&mut self, rows: &[Row], page: Decoded, now: UnixNanos) {
        let mut spans = page.spans.into_iter();
        let mut refused = page.rejected.into_iter().peekable();
        for (index, row) in rows.iter().enumerate() {
            match refused.next_if(|refused| refused.index == index) {
                Some(told) => {
                    self.refused.push(Refusal { row: row.key.clone(), field: told.field, reason: told.reason });
                }
                None => self.spans.extend(spans.next().map(|span| known_since(span, row.created_at, now))),
            }
        }
    }
}

/// Puts an old span where it was in time: it became known when its row was made, or else with its last sign of life, and
/// nothing was heard of it since. So it is kept, and read as abandoned, as if it had arrived then; and the same row gives
/// the same span whenever it is read.
fn known_since(mut span: Span, created_at: Option<UnixNanos>, now: UnixNanos) -> Span {
    let life = span.started_at.max(span.ended_at());
    span.created_at = created_at.or(life).unwrap_or(now).min(now);
    span.seen_at = life.max(Some(span.created_at)).unwrap_or(now).min(now);
    span
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::limits::Limits;
    use crate::model::tenant::TenantId;
    use crate::settings::pipeline::PipelineSettings;

    const NOW: UnixNanos = UnixNanos::new(1_767_607_200_000_000_000);

    fn row(key: &str, json: &str) -> Row {
        Row { key: key.into(), json: json.into(), created_at: None }
    }

    fn decoded(rows: Vec<Row>) -> DecodedRows {
        let plan = Plan {
            tenant: TenantId::default(),
            limits: Limits::default(),
            pipeline: PipelineSettings::default(),
            batch_rows: 10,
            redaction: None,
            restart: false,
            attempts: 1,
            keep_from: UnixNanos::default(),
        };
        spans(rows, &plan, NOW)
    }

    fn ids(of: &DecodedRows) -> Vec<String> {
        of.spans.iter().map(|span| span.span_id.to_string()).collect()
    }

    #[test]
    fn a_bad_row_costs_no_neighbour_and_is_named() {
        let rows = vec![
            row("id=1", r#"{"trace_id":"00000000000000a1","span_id":"a"}"#),
            row("id=2", r#"{"trace_id":null,"span_id":"b"}"#),
            row("id=3", r#"{"trace_id":"00000000000000a1","span_id":"c"}"#),
        ];
        let of = decoded(rows);
        assert_eq!(ids(&of), ["000000000000000a", "000000000000000c"]);
        assert_eq!(of.refused.len(), 1);
        assert_eq!((of.refused[0].row.as_str(), of.refused[0].field.as_deref()), ("id=2", Some("trace_id")));

        // Whatever is wrong with the whole of it.
        let of = decoded(vec![row("id=1", r#"{"trace_id":"00000000000000a1","span_id":"a"}"#), row("id=2", "{")]);
        assert_eq!((ids(&of).len(), of.refused[0].row.as_str()), (1, "id=2"));
        assert!(decoded(Vec::new()).refused.is_empty());
    }

    #[test]
    fn an_old_span_became_known_when_its_row_was_made() {
        let at = |seconds: u64| UnixNanos::new(1_767_000_000_000_000_000 + seconds * 1_000_000_000);
        let made = |created_at, times: String| {
            let json = format!(r#"{{"trace_id":"00000000000000a1","span_id":"a"{times}}}"#);
            let span = decoded(vec![Row { created_at, ..row("1", &json) }]).spans.remove(0);
            (span.created_at, span.seen_at)
        };
        let start = format!(r#","started_at":"{}""#, at(10));
        let both = format!(r#"{start},"completed_at":"{}""#, at(20));
        assert_eq!(made(Some(at(15)), both.clone()), (at(15), at(20)));
        assert_eq!(made(None, both), (at(20), at(20)));
        assert_eq!(made(Some(at(30)), start.clone()), (at(30), at(30)));
        assert_eq!(made(None, start), (at(10), at(10)));
        assert_eq!(made(None, String::new()), (NOW, NOW));
        assert_eq!(made(Some(NOW.plus(1)), String::new()), (NOW, NOW), "nothing is known before its time");
    }
}

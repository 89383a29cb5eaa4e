-- What follows an INSERT of traces that were written to: those that are known have their bounds widened and are
-- unsettled. SQLite's min and max of a NULL are NULL, hence coalesce. Without a day no start was told, and started_at is when
-- the trace was heard of, which the first start that is told replaces. A trace whose spans were removed for their age
-- has its last roll-up: it stays settled, and what comes late is a part of it.
ON CONFLICT (trace_id, tenant) DO UPDATE SET
    touched = touched + 1,
    settled = CASE WHEN spans_partial OR spans_expired_at IS NOT NULL THEN touched + 1 ELSE settled END,
    spans_partial = spans_partial OR spans_expired_at IS NOT NULL,
    spans_expired_at = NULL,
    first_day = coalesce(min(first_day, excluded.first_day), first_day, excluded.first_day),
    last_day = coalesce(max(last_day, excluded.last_day), last_day, excluded.last_day),
    started_at = CASE WHEN (excluded.first_day IS NULL, excluded.started_at) < (first_day IS NULL, started_at)
        THEN excluded.started_at ELSE started_at END,
    ended_at = coalesce(max(ended_at, excluded.ended_at), ended_at, excluded.ended_at)
RETURNING trace_id, tenant, touched, first_day, last_day,
    touched > 1 AND EXISTS (SELECT 1 FROM open_spans WHERE open_spans.trace_id = traces.trace_id)

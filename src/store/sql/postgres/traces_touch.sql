-- Traces that were written to: new ones get a row, those that are known have their bounds widened and are unsettled.
-- PostgreSQL's least and greatest pass over NULL. No indexed column of a known and unsettled trace changes, unless an
-- earlier start is told. Without a day no start was told, and started_at is when the trace was heard of, which the first
-- start that is told replaces. has_open is the row's own, not what a look at open_spans would say: this statement may
-- have waited for another writer's commit, which its snapshot does not show. A trace whose spans were removed for
-- their age has its last roll-up: it stays settled, and what comes late is a part of it.
INSERT INTO tracefall.traces AS known
    (trace_id, tenant, first_day, last_day, started_at, started_ns, ended_at, ended_ns, created_at, has_open)
SELECT trace_id, tenant, date '1970-01-01' + first_day, date '1970-01-01' + last_day, started_at, started_ns, ended_at,
    ended_ns, created_at, has_open
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::int[], $5::timestamptz[], $6::smallint[], $7::timestamptz[],
        $8::smallint[], $9::timestamptz[], $10::boolean[])
    AS told (trace_id, tenant, first_day, last_day, started_at, started_ns, ended_at, ended_ns, created_at, has_open)
ON CONFLICT (trace_id, tenant) DO UPDATE SET
    touched = known.touched + 1,
    settled = CASE WHEN known.spans_partial OR known.spans_expired_at IS NOT NULL THEN known.touched + 1
        ELSE known.settled END,
    unsettled = NOT known.spans_partial AND known.spans_expired_at IS NULL,
    spans_partial = known.spans_partial OR known.spans_expired_at IS NOT NULL,
    spans_expired_at = NULL,
    spans_expired_ns = NULL,
    has_open = known.has_open OR excluded.has_open,
    first_day = least(known.first_day, excluded.first_day),
    last_day = greatest(known.last_day, excluded.last_day),
    started_at = CASE WHEN (excluded.first_day IS NULL, excluded.started_at, excluded.started_ns)
        < (known.first_day IS NULL, known.started_at, known.started_ns) THEN excluded.started_at ELSE known.started_at END,
    started_ns = CASE WHEN (excluded.first_day IS NULL, excluded.started_at, excluded.started_ns)
        < (known.first_day IS NULL, known.started_at, known.started_ns) THEN excluded.started_ns ELSE known.started_ns END,
    ended_at = greatest(known.ended_at, excluded.ended_at),
    ended_ns = CASE WHEN known.ended_at IS NULL OR (excluded.ended_at, excluded.ended_ns) > (known.ended_at, known.ended_ns)
        THEN excluded.ended_ns ELSE known.ended_ns END
RETURNING trace_id, tenant, touched, first_day, last_day, has_open

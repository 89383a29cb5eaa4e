-- Traces that were deleted on request: only which and when, so that what was accepted before the request is not stored after
-- it, by a queue, a journal or another process. Kept for retention.rollup_days: a journal that lay aside for longer may bring
-- them back.
CREATE TABLE tracefall.deletions (
    trace_id   uuid NOT NULL,
    deleted_at timestamptz NOT NULL,
    deleted_ns smallint NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    PRIMARY KEY (trace_id, tenant)
);
CREATE INDEX deletions_deleted_at ON tracefall.deletions (deleted_at);

-- The same as cleanup_old_traces(integer), for at most so many traces, and it returns how many traces it went through, with
-- spans left or without. A call is one transaction: call it until it returns 0, which it does only once none is left.
CREATE FUNCTION tracefall.cleanup_old_traces(retention_days integer, max_traces integer, OUT traces_handled integer)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old record;
BEGIN
    IF retention_days IS NULL OR retention_days < 0 THEN
        RAISE EXCEPTION 'retention_days is %, which is no number of days', coalesce(retention_days::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF max_traces IS NULL OR max_traces < 1 THEN
        RAISE EXCEPTION 'max_traces is %; at least 1 is accepted', coalesce(max_traces::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    traces_handled := 0;
    -- Every trace is locked before it is judged, in the order in which the service locks them.
    FOR old IN
        SELECT trace_id, tenant, (first_day::timestamp AT TIME ZONE 'UTC') AS from_time,
            ((last_day + 1)::timestamp AT TIME ZONE 'UTC') AS until_time
        FROM tracefall.traces AS t
        WHERE NOT unsettled AND status = 'completed' AND spans_expired_at IS NULL
            AND greatest(coalesce(ended_at, started_at), created_at) < now() - make_interval(days => retention_days)
            AND NOT EXISTS (SELECT FROM tracefall.pins AS p WHERE p.trace_id = t.trace_id AND p.tenant = t.tenant)
        ORDER BY trace_id, tenant
        LIMIT max_traces
        FOR UPDATE
    LOOP
        -- One that was pinned meanwhile counts too: others may come behind it.
        traces_handled := traces_handled + 1;
        CONTINUE WHEN EXISTS (
            SELECT FROM tracefall.pins AS p WHERE p.trace_id = old.trace_id AND p.tenant = old.tenant
        );
        DELETE FROM tracefall.spans AS s
        WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant
            AND s.started_at >= old.from_time AND s.started_at < old.until_time;
        DELETE FROM tracefall.spans_kept AS s WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant;
        DELETE FROM tracefall.open_spans AS s WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant;
        UPDATE tracefall.traces AS t SET spans_partial = false, spans_expired_at = now(), spans_expired_ns = 0
        WHERE t.trace_id = old.trace_id AND t.tenant = old.tenant;
    END LOOP;
END
$$;

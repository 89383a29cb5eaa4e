-- Spans, their traces, and what belongs to them.
--
-- "tracefall." stands for the schema that the settings name. An instant is a timestamptz and, beside it, the nanoseconds
-- (0 to 999) below its microseconds; attributes, events, links, inputs, outputs and provenance are json as text, NULL when
-- there are none. Columns of a fixed width come first, and those that may be large last.

-- Ended spans, a partition a UTC day of started_at: spans_YYYYMMDD, made before the day's first row comes. Days far from
-- the present, and rows that came while their day had no partition, are in spans_default. revision: NULL for 0.
CREATE TABLE tracefall.spans (
    trace_id              uuid NOT NULL,
    started_at            timestamptz NOT NULL,
    created_at            timestamptz NOT NULL,
    duration_ns           bigint,
    revision              bigint,
    kind                  bigint,
    otel_status           bigint,
    input_tokens          bigint,
    output_tokens         bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    reasoning_tokens      bigint,
    audio_tokens          bigint,
    cost_pico             bigint,
    retry_count           bigint,
    depth                 bigint,
    sequence              bigint,
    flags                 bigint,
    dropped_attributes    bigint,
    dropped_events        bigint,
    dropped_links         bigint,
    resource_id           uuid,
    started_ns            smallint NOT NULL,
    created_ns            smallint NOT NULL,
    span_id               bytea NOT NULL,
    parent_span_id        bytea,
    tenant                text COLLATE "C" NOT NULL,
    status                text COLLATE "C" NOT NULL,
    service               text COLLATE "C",
    operation             text COLLATE "C",
    span_type             text COLLATE "C",
    status_message        text COLLATE "C",
    error_type            text COLLATE "C",
    error_message         text COLLATE "C",
    error_stack           text COLLATE "C",
    execution_id          text COLLATE "C",
    job_id                text COLLATE "C",
    question_id           text COLLATE "C",
    workflow_id           text COLLATE "C",
    session_id            text COLLATE "C",
    user_id               text COLLATE "C",
    region                text COLLATE "C",
    model                 text COLLATE "C",
    request_model         text COLLATE "C",
    provider              text COLLATE "C",
    cost_source           text COLLATE "C",
    cost_status           text COLLATE "C",
    cost_role             text COLLATE "C",
    price_ref             text COLLATE "C",
    usage_basis           text COLLATE "C",
    workspace_id          text COLLATE "C",
    release_target_key    text COLLATE "C",
    release_id            text COLLATE "C",
    parent_trace_id       text COLLATE "C",
    phase                 text COLLATE "C",
    node_type             text COLLATE "C",
    decision              text COLLATE "C",
    result                text COLLATE "C",
    trigger               text COLLATE "C",
    trace_state           text COLLATE "C",
    provenance            json,
    attributes            json,
    inputs                json,
    outputs               json,
    events                json,
    links                 json
) PARTITION BY RANGE (started_at);

-- The identity, and every read of a trace. started_at is in it since PostgreSQL wants it there: a retry that tells the
-- start differently makes a twin, which readers fold.
CREATE UNIQUE INDEX spans_identity ON tracefall.spans (trace_id, span_id, started_at, tenant);
CREATE INDEX spans_execution_id ON tracefall.spans (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX spans_job_id ON tracefall.spans (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX spans_release_target_key ON tracefall.spans (release_target_key) WHERE release_target_key IS NOT NULL;
CREATE INDEX spans_release_id ON tracefall.spans (release_id) WHERE release_id IS NOT NULL;
CREATE INDEX spans_parent_trace_id ON tracefall.spans (parent_trace_id) WHERE parent_trace_id IS NOT NULL;
CREATE INDEX spans_workspace_id ON tracefall.spans (workspace_id, started_at) WHERE workspace_id IS NOT NULL;
CREATE INDEX spans_started_at ON tracefall.spans USING brin (started_at) WITH (pages_per_range = 32);
CREATE INDEX spans_created_at ON tracefall.spans USING brin (created_at) WITH (pages_per_range = 32);

CREATE TABLE tracefall.spans_default PARTITION OF tracefall.spans DEFAULT;

-- Ended spans kept beyond their day's partition: of failed and of pinned traces. Twins are possible: a retry that came
-- after its span had been moved here follows it when its own time has come.
CREATE TABLE tracefall.spans_kept (LIKE tracefall.spans);
CREATE INDEX spans_kept_identity ON tracefall.spans_kept (trace_id, span_id, started_at, tenant);
CREATE INDEX spans_kept_created_at ON tracefall.spans_kept (created_at);
CREATE INDEX spans_kept_execution_id ON tracefall.spans_kept (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX spans_kept_job_id ON tracefall.spans_kept (job_id) WHERE job_id IS NOT NULL;

-- Spans that have not ended, and completions whose start is unknown. deadline: when silence makes it abandoned. Rows come
-- and go all the time, so vacuum comes early.
CREATE TABLE tracefall.open_spans (
    trace_id              uuid NOT NULL,
    started_at            timestamptz,
    created_at            timestamptz NOT NULL,
    ended_at              timestamptz,
    seen_at               timestamptz NOT NULL,
    deadline              timestamptz NOT NULL,
    duration_ns           bigint,
    revision              bigint,
    kind                  bigint,
    otel_status           bigint,
    input_tokens          bigint,
    output_tokens         bigint,
    cache_read_tokens     bigint,
    cache_write_tokens    bigint,
    cache_write_1h_tokens bigint,
    reasoning_tokens      bigint,
    audio_tokens          bigint,
    cost_pico             bigint,
    retry_count           bigint,
    depth                 bigint,
    sequence              bigint,
    flags                 bigint,
    dropped_attributes    bigint,
    dropped_events        bigint,
    dropped_links         bigint,
    resource_id           uuid,
    started_ns            smallint,
    created_ns            smallint NOT NULL,
    ended_ns              smallint,
    seen_ns               smallint NOT NULL,
    span_id               bytea NOT NULL,
    parent_span_id        bytea,
    tenant                text COLLATE "C" NOT NULL,
    status                text COLLATE "C" NOT NULL,
    service               text COLLATE "C",
    operation             text COLLATE "C",
    span_type             text COLLATE "C",
    status_message        text COLLATE "C",
    error_type            text COLLATE "C",
    error_message         text COLLATE "C",
    error_stack           text COLLATE "C",
    execution_id          text COLLATE "C",
    job_id                text COLLATE "C",
    question_id           text COLLATE "C",
    workflow_id           text COLLATE "C",
    session_id            text COLLATE "C",
    user_id               text COLLATE "C",
    region                text COLLATE "C",
    model                 text COLLATE "C",
    request_model         text COLLATE "C",
    provider              text COLLATE "C",
    cost_source           text COLLATE "C",
    cost_status           text COLLATE "C",
    cost_role             text COLLATE "C",
    price_ref             text COLLATE "C",
    usage_basis           text COLLATE "C",
    workspace_id          text COLLATE "C",
    release_target_key    text COLLATE "C",
    release_id            text COLLATE "C",
    parent_trace_id       text COLLATE "C",
    phase                 text COLLATE "C",
    node_type             text COLLATE "C",
    decision              text COLLATE "C",
    result                text COLLATE "C",
    trigger               text COLLATE "C",
    trace_state           text COLLATE "C",
    provenance            json,
    attributes            json,
    inputs                json,
    outputs               json,
    events                json,
    links                 json,
    PRIMARY KEY (trace_id, span_id, tenant)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

CREATE INDEX open_spans_deadline ON tracefall.open_spans (deadline);
CREATE INDEX open_spans_execution_id ON tracefall.open_spans (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX open_spans_job_id ON tracefall.open_spans (job_id) WHERE job_id IS NOT NULL;

-- OpenTelemetry's resource and scope of spans, once each. id: the first 16 bytes of the content's SHA-256.
CREATE TABLE tracefall.resources (
    id            uuid PRIMARY KEY,
    last_seen_day date NOT NULL,
    content       text COLLATE "C" NOT NULL
);

-- One row a trace: what lists show of it. first_day and last_day (UTC) bound where its spans are. It is settled when its
-- roll-up knows all spans: settled = touched, which unsettled repeats so that a touch changes no indexed column. has_open:
-- whether a span of it may be in open_spans. spans_partial: some of its spans were removed for their age, or are about to
-- be; spans_expired_at: when the last of them were. Either way its roll-up is final.
CREATE TABLE tracefall.traces (
    trace_id       uuid NOT NULL,
    started_at     timestamptz NOT NULL,
    ended_at       timestamptz,
    created_at     timestamptz NOT NULL,
    touched        bigint NOT NULL DEFAULT 1,
    settled        bigint NOT NULL DEFAULT 0,
    duration_ns    bigint,
    span_count     bigint NOT NULL DEFAULT 0,
    error_count    bigint NOT NULL DEFAULT 0,
    orphan_count   bigint NOT NULL DEFAULT 0,
    open_count     bigint NOT NULL DEFAULT 0,
    input_tokens   bigint,
    output_tokens  bigint,
    cost_pico      bigint,
    first_day      date,
    last_day       date,
    started_ns     smallint NOT NULL,
    ended_ns       smallint,
    unsettled      boolean NOT NULL DEFAULT true,
    has_open       boolean NOT NULL,
    spans_partial  boolean NOT NULL DEFAULT false,
    spans_expired_at timestamptz,
    spans_expired_ns smallint,
    tenant         text COLLATE "C" NOT NULL,
    status         text COLLATE "C" NOT NULL DEFAULT 'running',
    root_service   text COLLATE "C",
    root_operation text COLLATE "C",
    error_type     text COLLATE "C",
    error_message  text COLLATE "C",
    error_service  text COLLATE "C",
    execution_id   text COLLATE "C",
    job_id         text COLLATE "C",
    question_id    text COLLATE "C",
    workflow_id    text COLLATE "C",
    session_id     text COLLATE "C",
    user_id        text COLLATE "C",
    services       text[] COLLATE "C",
    regions        text[] COLLATE "C",
    models         text[] COLLATE "C",
    query          text COLLATE "C",
    metadata       json,
    PRIMARY KEY (trace_id, tenant)
) WITH (fillfactor = 70);

CREATE INDEX traces_started_at ON tracefall.traces (tenant, started_at, started_ns, trace_id);
CREATE INDEX traces_execution_id ON tracefall.traces (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX traces_job_id ON tracefall.traces (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX traces_unsettled ON tracefall.traces (created_at) WHERE unsettled;
CREATE INDEX traces_partial ON tracefall.traces (trace_id) WHERE spans_partial;
CREATE INDEX traces_expired ON tracefall.traces (created_at) WHERE spans_expired_at IS NOT NULL;

-- Traces that somebody wants to keep, whatever their age.
CREATE TABLE tracefall.pins (
    trace_id  uuid NOT NULL,
    tenant    text COLLATE "C" NOT NULL,
    pinned_at timestamptz NOT NULL,
    pinned_ns smallint NOT NULL,
    PRIMARY KEY (trace_id, tenant)
);

-- Spans that the store refused, as they were, with the reason.
CREATE TABLE tracefall.dead_letters (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    refused_at timestamptz NOT NULL,
    tenant     text NOT NULL,
    trace_id   text NOT NULL,
    span_id    text NOT NULL,
    reason     text NOT NULL,
    body       text NOT NULL
);

-- Who does what only one may do, until when.
CREATE TABLE tracefall.leases (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  timestamptz NOT NULL
);

-- How far a recurring or a long job has come, in the job's own words.
CREATE TABLE tracefall.checkpoints (
    name    text PRIMARY KEY,
    reached text NOT NULL
);

-- What follows is for people with psql: docs/sql.md says what each of it shows.

-- Spans as people read them: span ids in hex, open ones among the ended.
CREATE VIEW tracefall.trace_spans AS
WITH rows AS (
    SELECT trace_id, span_id, parent_span_id, service, operation, started_at,
        started_at + (duration_ns / 1000) * interval '1 microsecond' AS ended_at, duration_ns, status, error_message,
        error_type, execution_id, job_id, model, region, attributes, created_at
    FROM tracefall.spans
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, service, operation, started_at,
        started_at + (duration_ns / 1000) * interval '1 microsecond', duration_ns, status, error_message,
        error_type, execution_id, job_id, model, region, attributes, created_at
    FROM tracefall.spans_kept
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, service, operation, started_at, ended_at, duration_ns,
        CASE WHEN status IN ('pending', 'running') AND deadline < now() THEN 'abandoned' ELSE status END,
        error_message, error_type, execution_id, job_id, model, region, attributes, created_at
    FROM tracefall.open_spans
)
SELECT
    replace(trace_id::text, '-', '') || '-' || encode(span_id, 'hex') AS id,
    trace_id,
    encode(span_id, 'hex') AS span_id,
    encode(parent_span_id, 'hex') AS parent_span_id,
    service,
    operation,
    started_at,
    ended_at AS completed_at,
    duration_ns / 1e6::float8 AS duration_ms,
    status,
    error_message,
    error_type,
    execution_id,
    job_id,
    model AS model_id,
    region,
    coalesce(attributes, '{}') AS metadata,
    created_at
FROM rows;

-- Removes the spans of completed traces that ended more than so many days ago, and returns how many spans that were. Failed,
-- running and pinned traces stay whole; what lists show of the others stays too. One transaction: for years of spans, call
-- it with fewer days each time. The service does the same by itself, see [retention].
CREATE FUNCTION tracefall.cleanup_old_traces(retention_days integer DEFAULT 90) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    old record;
    n bigint;
    removed bigint := 0;
BEGIN
    IF retention_days IS NULL OR retention_days < 0 THEN
        RAISE EXCEPTION 'retention_days is %, which is no number of days', coalesce(retention_days::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    -- Every trace is locked before it is judged, in the order in which the service locks them.
    FOR old IN
        SELECT trace_id, tenant, (first_day::timestamp AT TIME ZONE 'UTC') AS from_time,
            ((last_day + 1)::timestamp AT TIME ZONE 'UTC') AS until_time
        FROM tracefall.traces AS t
        WHERE NOT unsettled AND status = 'completed' AND spans_expired_at IS NULL
            AND greatest(coalesce(ended_at, started_at), created_at) < now() - make_interval(days => retention_days)
            AND NOT EXISTS (SELECT FROM tracefall.pins AS p WHERE p.trace_id = t.trace_id AND p.tenant = t.tenant)
        ORDER BY trace_id, tenant
        FOR UPDATE
    LOOP
        CONTINUE WHEN EXISTS (
            SELECT FROM tracefall.pins AS p WHERE p.trace_id = old.trace_id AND p.tenant = old.tenant
        );
        DELETE FROM tracefall.spans AS s
        WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant
            AND s.started_at >= old.from_time AND s.started_at < old.until_time;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        DELETE FROM tracefall.spans_kept AS s WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        DELETE FROM tracefall.open_spans AS s WHERE s.trace_id = old.trace_id AND s.tenant = old.tenant;
        GET DIAGNOSTICS n = ROW_COUNT;
        removed := removed + n;
        UPDATE tracefall.traces AS t SET spans_partial = false, spans_expired_at = now(), spans_expired_ns = 0
        WHERE t.trace_id = old.trace_id AND t.tenant = old.tenant;
    END LOOP;
    RETURN least(removed, 2147483647);
END
$$;

-- What a waterfall is drawn of, for the view trace_waterfall: the spans of one trace as a tree, in pre-order. The bounds
-- hold the starts of the trace's ended spans; with those of its row in traces only its days are read.
--
-- Rows of one span (a retry that tells its start differently, an open one beside an ended one) are folded: the strongest
-- one counts, from the earliest start. A parent that no span has gets a row of its own, a placeholder, under which those
-- who name it hang. Of a circle, the link of its first span is cut. As in the waterfall over HTTP, except that spans below
-- the 1000th level are left out.
CREATE FUNCTION tracefall.waterfall_of(
    of_trace uuid, from_time timestamptz, until_time timestamptz, of_tenant text DEFAULT 'default'
)
RETURNS TABLE (
    path           text,
    depth          integer,
    span_id        text,
    parent_span_id text,
    service        text,
    operation      text,
    span_type      text,
    status         text,
    started_at     timestamptz,
    completed_at   timestamptz,
    offset_ms      double precision,
    duration_ms    double precision,
    self_ms        double precision,
    note           text,
    error_type     text,
    error_message  text,
    job_id         text,
    model_id       text,
    region         text,
    input_tokens   bigint,
    output_tokens  bigint,
    cost_usd       numeric
)
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 COST 100000
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET enable_nestloop = off
SET jit = off
SET plan_cache_mode = force_generic_plan
AS $function$
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH RECURSIVE
present AS MATERIALIZED (
    SELECT extract(epoch FROM now()) * 1000000000 AS now_ns
),
stored AS (
    SELECT span_id, parent_span_id, started_at, started_ns, NULL::timestamptz AS ended_at, NULL::smallint AS ended_ns,
        created_at, created_ns, created_at AS seen_at, created_ns AS seen_ns, NULL::timestamptz AS deadline, duration_ns,
        revision, status, service, operation, span_type, error_type, error_message, status_message, job_id, model,
        region, input_tokens, output_tokens, cost_pico
    FROM tracefall.spans
    WHERE trace_id = of_trace AND tenant = of_tenant AND started_at >= from_time AND started_at < until_time
    UNION ALL
    SELECT span_id, parent_span_id, started_at, started_ns, NULL, NULL,
        created_at, created_ns, created_at, created_ns, NULL, duration_ns,
        revision, status, service, operation, span_type, error_type, error_message, status_message, job_id, model,
        region, input_tokens, output_tokens, cost_pico
    FROM tracefall.spans_kept
    WHERE trace_id = of_trace AND tenant = of_tenant
    UNION ALL
    SELECT span_id, parent_span_id, started_at, started_ns, ended_at, ended_ns,
        created_at, created_ns, seen_at, seen_ns, deadline, duration_ns,
        revision, status, service, operation, span_type, error_type, error_message, status_message, job_id, model,
        region, input_tokens, output_tokens, cost_pico
    FROM tracefall.open_spans
    WHERE trace_id = of_trace AND tenant = of_tenant
),
-- Nanoseconds since 1970 are numeric: those of an absurd clock do not fit into a bigint.
told AS MATERIALIZED (
    SELECT *,
        coalesce(ended_at, started_at + (duration_ns / 1000) * interval '1 microsecond') AS stopped_at,
        status IN ('pending', 'running') AS is_open
    FROM (
        SELECT *,
            row_number() OVER strongest_first AS weakness,
            (array_agg(parent_span_id) FILTER (WHERE parent_span_id IS NOT NULL) OVER strongest_first)[1] AS parent,
            min(began_ns) OVER strongest_first AS first_ns,
            min(made_ns) OVER strongest_first AS heard_ns,
            min(started_at) OVER strongest_first AS first_at
        FROM (
            SELECT *,
                extract(epoch FROM started_at) * 1000000000 + started_ns AS began_ns,
                coalesce(extract(epoch FROM ended_at) * 1000000000 + ended_ns,
                    extract(epoch FROM started_at) * 1000000000 + started_ns + duration_ns) AS end_ns,
                extract(epoch FROM created_at) * 1000000000 + created_ns AS made_ns,
                extract(epoch FROM seen_at) * 1000000000 + seen_ns AS alive_ns,
                extract(epoch FROM deadline - seen_at) * 1000000000 AS patience_ns
            FROM stored
        ) AS in_ns
        WINDOW strongest_first AS (
            PARTITION BY span_id
            ORDER BY CASE status WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 2 END DESC,
                end_ns DESC NULLS LAST,
                revision DESC NULLS LAST,
                CASE status WHEN 'failed' THEN 3 WHEN 'cancelled' THEN 2 WHEN 'completed' THEN 1 ELSE 0 END DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        )
    ) AS ranked
    WHERE weakness = 1
),
-- A parent of 64 bits may be one half of the only span id of 128 bits that has it.
halves AS (
    SELECT half, decode(min(encode(span_id, 'hex')), 'hex') AS span_id
    FROM (
        SELECT span_id, substring(span_id FROM 1 FOR 8) AS half FROM told WHERE length(span_id) = 16
        UNION
        SELECT span_id, substring(span_id FROM 9 FOR 8) FROM told WHERE length(span_id) = 16
    ) AS of_long
    GROUP BY half
    HAVING count(*) = 1
),
-- In the order of siblings. A time before 2000, a start five minutes after it was heard of, and an end five minutes from
-- now cannot be right.
linked AS MATERIALIZED (
    SELECT child.span_id,
        coalesce(above.span_id, halves.span_id, child.parent) AS under,
        child.parent IS NOT NULL AND above.span_id IS NULL AND halves.span_id IS NULL AS is_orphan,
        coalesce(child.first_ns, child.end_ns) AS at_ns,
        child.heard_ns,
        coalesce(child.first_ns < 946684800000000000 OR child.first_ns - child.heard_ns > 300000000000, false)
            AS starts_suspect,
        coalesce(child.end_ns < 946684800000000000 OR child.end_ns - present.now_ns > 300000000000, false) AS ends_suspect,
        row_number() OVER (ORDER BY coalesce(child.first_ns, child.end_ns) NULLS LAST, child.span_id) AS place
    FROM told AS child
    CROSS JOIN present
    LEFT JOIN told AS above ON above.span_id = child.parent
    LEFT JOIN halves ON above.span_id IS NULL AND halves.half = child.parent
),
-- A placeholder stands where its first orphan does.
node AS MATERIALIZED (
    SELECT span_id, under, at_ns, heard_ns, place, starts_suspect OR ends_suspect AS is_suspect,
        starts_suspect AS goes_last, is_orphan, false AS is_placeholder
    FROM linked
    UNION ALL
    SELECT under, NULL, coalesce(min(at_ns) FILTER (WHERE NOT (starts_suspect OR ends_suspect)), min(at_ns)), min(heard_ns),
        min(place), bool_and(starts_suspect OR ends_suspect), min(2 * place + starts_suspect::int) % 2 = 1, false, true
    FROM linked
    WHERE is_orphan
    GROUP BY under
),
-- Up from each span as long as those above come later: who gets back to himself is the first of a circle.
climb AS (
    SELECT span_id AS origin, place AS origin_place, under AS at, 1 AS steps
    FROM node
    WHERE under IS NOT NULL
    UNION ALL
    SELECT climb.origin, climb.origin_place, node.under, climb.steps + 1
    FROM climb
    JOIN node ON node.span_id = climb.at
    WHERE climb.at <> climb.origin AND node.place > climb.origin_place AND node.under IS NOT NULL AND climb.steps < 1000
),
cut AS (
    SELECT origin FROM climb WHERE at = origin
),
rooted AS MATERIALIZED (
    SELECT *, row_number() OVER (
            PARTITION BY hung
            ORDER BY CASE WHEN hung IS NOT NULL THEN 0 WHEN is_placeholder THEN 1 WHEN is_cut THEN 2 ELSE 0 END,
                hung IS NULL AND goes_last, place
        ) AS number
    FROM (
        SELECT node.*, cut.origin IS NOT NULL AS is_cut, CASE WHEN cut.origin IS NULL THEN under END AS hung
        FROM node
        LEFT JOIN cut ON cut.origin = node.span_id
    ) AS hanging
),
tree AS (
    SELECT span_id, 0 AS depth, lpad(number::text, 6, '0') COLLATE "C" AS path,
        coalesce(at_ns, heard_ns) AS start_ns
    FROM rooted
    WHERE hung IS NULL
    UNION ALL
    SELECT rooted.span_id, tree.depth + 1, tree.path || '.' || lpad(rooted.number::text, 6, '0'),
        coalesce(rooted.at_ns, tree.start_ns)
    FROM tree
    JOIN rooted ON rooted.hung = tree.span_id
    WHERE tree.depth < 999
),
placed AS MATERIALIZED (
    SELECT tree.*, rooted.hung, rooted.is_orphan, rooted.is_placeholder, rooted.is_cut, rooted.is_suspect,
        told.parent AS parent_span_id, told.service, told.operation, told.span_type, told.status, told.first_at,
        told.stopped_at, told.first_ns, told.end_ns, told.duration_ns, told.is_open, told.alive_ns, told.patience_ns,
        told.error_type, coalesce(told.error_message, told.status_message) AS error_message, told.job_id, told.model,
        told.region, told.input_tokens, told.output_tokens, told.cost_pico
    FROM tree
    JOIN rooted USING (span_id)
    LEFT JOIN told ON told.span_id = tree.span_id AND NOT rooted.is_placeholder
),
-- An open span is as alive as what runs below it, and the trace's root as anything in the trace; ended ones were alive
-- until then.
alive AS (
    SELECT parent.span_id, max(least(coalesce(below.end_ns, below.alive_ns), now_ns)) AS last_ns,
        max(least(coalesce(below.end_ns, below.alive_ns), now_ns)) + parent.patience_ns < now_ns AS is_silent
    FROM placed AS parent
    JOIN placed AS below
        ON parent.path = '000001'
        OR parent.path = '000001.000001' AND parent.is_orphan
        OR below.path >= parent.path AND below.path < parent.path || '/'
    CROSS JOIN present
    WHERE parent.is_open AND NOT below.is_placeholder
    GROUP BY parent.span_id, parent.patience_ns, now_ns
),
drawn AS (
    SELECT placed.*, alive.is_silent,
        placed.is_placeholder OR NOT placed.is_open AND placed.end_ns IS NULL AND placed.duration_ns IS NULL
            AS lasts_as_children,
        greatest(placed.start_ns, CASE
            WHEN placed.end_ns IS NOT NULL THEN placed.end_ns
            WHEN placed.duration_ns IS NOT NULL THEN placed.start_ns + placed.duration_ns
            WHEN placed.is_placeholder OR NOT placed.is_open OR placed.first_ns IS NULL THEN placed.start_ns
            WHEN alive.is_silent THEN alive.last_ns
            ELSE present.now_ns
        END) AS stop_ns,
        CASE
            WHEN placed.is_open THEN NULL
            WHEN placed.end_ns IS NOT NULL AND placed.first_ns IS NOT NULL
                THEN greatest(0, placed.end_ns - placed.first_ns)
            WHEN placed.duration_ns IS NOT NULL THEN greatest(0, placed.duration_ns)
        END AS told_ns
    FROM placed
    CROSS JOIN present
    LEFT JOIN alive USING (span_id)
),
timed AS MATERIALIZED (
    SELECT drawn.*, CASE WHEN lasts_as_children THEN greatest(stop_ns, children.last_ns) ELSE stop_ns END AS final_ns
    FROM drawn
    LEFT JOIN (
        SELECT hung AS span_id, max(stop_ns) FILTER (WHERE NOT is_suspect) AS last_ns
        FROM drawn
        WHERE hung IS NOT NULL
        GROUP BY hung
    ) AS children USING (span_id)
),
-- Each child's share of its parent's time, less what earlier siblings cover.
covered AS (
    SELECT span_id, sum(greatest(0, stop_ns - greatest(start_ns, coalesce(before_ns, start_ns)))) AS covered_ns
    FROM (
        SELECT span_id, start_ns, stop_ns, max(stop_ns) OVER (
                PARTITION BY span_id ORDER BY start_ns, stop_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before_ns
        FROM (
            SELECT parent.span_id,
                least(greatest(child.start_ns, parent.start_ns), parent.final_ns) AS start_ns,
                least(greatest(child.final_ns, parent.start_ns), parent.final_ns) AS stop_ns
            FROM timed AS child
            JOIN timed AS parent ON parent.span_id = child.hung
        ) AS clipped
    ) AS in_order
    GROUP BY span_id
),
extent AS MATERIALIZED (
    SELECT coalesce(min(start_ns) FILTER (WHERE NOT is_suspect), min(start_ns)) AS begin_ns FROM timed
)
SELECT
    timed.path,
    timed.depth,
    encode(timed.span_id, 'hex'),
    encode(coalesce(timed.hung, timed.parent_span_id), 'hex'),
    timed.service,
    timed.operation,
    timed.span_type,
    CASE WHEN timed.is_silent THEN 'abandoned' ELSE timed.status END,
    timed.first_at,
    timed.stopped_at,
    ((timed.start_ns - extent.begin_ns) / 1000000)::double precision,
    (timed.told_ns / 1000000)::double precision,
    (CASE WHEN timed.is_placeholder THEN 0 ELSE timed.final_ns - timed.start_ns - coalesce(covered.covered_ns, 0) END
        / 1000000)::double precision,
    nullif(concat_ws(' ',
        CASE WHEN timed.is_placeholder THEN 'placeholder' END,
        CASE WHEN timed.is_orphan THEN 'orphan' END,
        CASE WHEN timed.is_cut THEN 'cycle' END,
        CASE WHEN timed.is_open THEN 'open' END,
        CASE WHEN timed.is_suspect THEN 'clock_suspect' END,
        CASE WHEN timed.depth = 999 AND EXISTS (SELECT FROM rooted WHERE rooted.hung = timed.span_id) THEN 'truncated' END
    ), ''),
    timed.error_type,
    timed.error_message,
    timed.job_id,
    timed.model,
    timed.region,
    timed.input_tokens,
    timed.output_tokens,
    timed.cost_pico / 1e12
FROM timed
CROSS JOIN extent
LEFT JOIN covered USING (span_id)
ORDER BY timed.path;
END
$function$;

-- The waterfall of each trace. A trace is found by its own id, and by the execution that its roll-up names or, before there
-- is one, any of its spans.
CREATE VIEW tracefall.trace_waterfall AS
SELECT
    known.trace_id,
    known.execution_id,
    spans.path COLLATE "C" AS path,
    spans.depth,
    repeat('  ', spans.depth) || CASE WHEN spans.note LIKE 'placeholder%' THEN '?'
        ELSE concat_ws(': ', spans.service, spans.operation) END AS step,
    spans.span_id,
    spans.parent_span_id,
    spans.service,
    spans.operation,
    spans.span_type,
    spans.status,
    spans.started_at,
    spans.completed_at,
    spans.offset_ms,
    spans.duration_ms,
    spans.self_ms,
    spans.note,
    spans.error_type,
    spans.error_message,
    spans.job_id,
    spans.model_id,
    spans.region,
    spans.input_tokens,
    spans.output_tokens,
    spans.cost_usd,
    known.tenant
FROM (
    SELECT trace_id, tenant, execution_id, first_day, last_day
    FROM tracefall.traces
    WHERE NOT (unsettled AND execution_id IS NULL)
    UNION ALL
    SELECT DISTINCT traces.trace_id, traces.tenant, told.execution_id, traces.first_day, traces.last_day
    FROM tracefall.traces
    LEFT JOIN (
        SELECT trace_id, tenant, execution_id FROM tracefall.spans WHERE execution_id IS NOT NULL
        UNION ALL
        SELECT trace_id, tenant, execution_id FROM tracefall.open_spans WHERE execution_id IS NOT NULL
    ) AS told ON told.trace_id = traces.trace_id AND told.tenant = traces.tenant
    WHERE traces.unsettled AND traces.execution_id IS NULL
) AS known
CROSS JOIN LATERAL tracefall.waterfall_of(
    known.trace_id,
    coalesce(known.first_day, date '1970-01-01')::timestamp AT TIME ZONE 'UTC',
    (coalesce(known.last_day, date '1969-12-31') + 1)::timestamp AT TIME ZONE 'UTC',
    known.tenant
) AS spans;

-- What the view trace_spans_health shows, in a bounded number of pages however many spans there are. A table of up to 2000
-- pages (16 MB) is counted. Of a larger one as many pages are looked at, picked evenly, and its number of rows is what
-- its statistics say of its present size. Recent spans are counted one by one up to 50 000.
CREATE FUNCTION tracefall.spans_health()
RETURNS TABLE (
    total_spans             bigint,
    spans_last_24h          bigint,
    spans_last_hour         bigint,
    table_size              text,
    total_size_with_indexes text,
    unique_traces           bigint,
    avg_duration_ms         double precision
)
LANGUAGE plpgsql STABLE ROWS 1 COST 100000
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
SET jit = off
SET max_parallel_workers_per_gather = 0
AS $function$
DECLARE
    looked_at CONSTANT integer := 2000;
    counted CONSTANT integer := 50000;
    name text;
    pages bigint;
    unknown_pages bigint;
    rows_known double precision;
    share double precision;
    seen record;
    rows_of double precision;
    recent bigint;
    traces double precision := 0;
    spans double precision := 0;
    last_24h double precision := 0;
    last_hour double precision := 0;
    ended double precision := 0;
    duration double precision := 0;
BEGIN
    FOREACH name IN ARRAY ARRAY['spans', 'spans_kept', 'open_spans', 'traces'] LOOP
        SELECT coalesce(sum(part.pages), 0),
            coalesce(sum(part.pages) FILTER (WHERE relpages <= 0 OR reltuples < 0), 0),
            coalesce(sum(part.pages * reltuples / relpages) FILTER (WHERE relpages > 0 AND reltuples >= 0), 0)
        INTO pages, unknown_pages, rows_known
        FROM (
            SELECT relpages, reltuples::double precision AS reltuples,
                pg_relation_size(oid) / current_setting('block_size')::bigint AS pages
            FROM pg_class
            -- Itself, and its partitions.
            WHERE oid IN (
                SELECT ('tracefall.' || name)::regclass
                UNION
                SELECT relid FROM pg_partition_tree(('tracefall.' || name)::regclass)
            )
        ) AS part;
        share := least(1, looked_at::double precision / greatest(pages, 1));
        IF name = 'traces' THEN
            EXECUTE 'SELECT count(*) AS rows FROM tracefall.traces TABLESAMPLE SYSTEM ($1)'
            INTO seen USING 100 * share;
        ELSE
            EXECUTE format(
                'SELECT count(*) AS rows, count(duration_ns) AS ended, coalesce(sum(duration_ns / 1e6), 0) AS duration,
                    count(*) FILTER (WHERE created_at > now() - interval ''24 hours'') AS last_24h,
                    count(*) FILTER (WHERE created_at > now() - interval ''1 hour'') AS last_hour
                FROM tracefall.%I TABLESAMPLE SYSTEM ($1)', name)
            INTO seen USING 100 * share;
        END IF;
        rows_of := CASE WHEN share < 1 THEN rows_known + unknown_pages * seen.rows / (share * pages) ELSE seen.rows END;
        IF name = 'traces' THEN
            traces := rows_of;
            CONTINUE;
        END IF;
        spans := spans + rows_of;
        ended := ended + seen.ended / share;
        duration := duration + seen.duration / share;
        IF name = 'spans' AND share < 1 THEN
            SELECT count(*) INTO recent
            FROM (SELECT FROM tracefall.spans WHERE created_at > now() - interval '24 hours' LIMIT counted + 1) AS of_day;
            last_24h := CASE WHEN recent <= counted THEN recent ELSE greatest(recent, seen.last_24h / share) END;
            SELECT count(*) INTO recent
            FROM (SELECT FROM tracefall.spans WHERE created_at > now() - interval '1 hour' LIMIT counted + 1) AS of_hour;
            last_hour := CASE WHEN recent <= counted THEN recent ELSE greatest(recent, seen.last_hour / share) END;
        ELSE
            last_24h := last_24h + seen.last_24h / share;
            last_hour := last_hour + seen.last_hour / share;
        END IF;
    END LOOP;
    RETURN QUERY
    SELECT round(spans)::bigint, round(last_24h)::bigint, round(last_hour)::bigint,
        pg_size_pretty(sum(pg_table_size(relid))), pg_size_pretty(sum(pg_total_relation_size(relid))),
        round(traces)::bigint, duration / nullif(ended, 0)
    FROM (
        SELECT unnest(ARRAY['tracefall.spans', 'tracefall.spans_kept', 'tracefall.open_spans']::regclass[]) AS relid
        UNION
        SELECT relid FROM pg_partition_tree('tracefall.spans')
    ) AS tables;
END
$function$;

CREATE VIEW tracefall.trace_spans_health AS SELECT * FROM tracefall.spans_health();

-- Spans of deployments, under the names that a deployment platform gives them.
CREATE VIEW tracefall.deployment_trace_span AS
WITH rows AS (
    SELECT trace_id, span_id, parent_span_id, operation, started_at,
        started_at + (duration_ns / 1000) * interval '1 microsecond' AS ended_at, workspace_id, release_target_key,
        release_id, job_id, parent_trace_id, phase, node_type, status, depth, sequence, attributes, events, created_at
    FROM tracefall.spans
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, operation, started_at,
        started_at + (duration_ns / 1000) * interval '1 microsecond', workspace_id, release_target_key,
        release_id, job_id, parent_trace_id, phase, node_type, status, depth, sequence, attributes, events, created_at
    FROM tracefall.spans_kept
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, operation, started_at, ended_at, workspace_id, release_target_key,
        release_id, job_id, parent_trace_id, phase, node_type,
        CASE WHEN status IN ('pending', 'running') AND deadline < now() THEN 'abandoned' ELSE status END,
        depth, sequence, attributes, events, created_at
    FROM tracefall.open_spans
)
SELECT
    replace(trace_id::text, '-', '') || '-' || encode(span_id, 'hex') AS id,
    trace_id,
    encode(span_id, 'hex') AS span_id,
    encode(parent_span_id, 'hex') AS parent_span_id,
    operation AS name,
    started_at AS start_time,
    ended_at AS end_time,
    workspace_id,
    release_target_key,
    release_id,
    job_id,
    parent_trace_id,
    phase,
    node_type,
    status,
    depth,
    sequence,
    attributes,
    events,
    created_at
FROM rows
WHERE workspace_id IS NOT NULL OR release_target_key IS NOT NULL OR release_id IS NOT NULL;

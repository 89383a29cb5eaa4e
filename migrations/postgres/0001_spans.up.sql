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

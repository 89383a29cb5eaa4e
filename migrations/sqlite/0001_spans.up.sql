-- Spans, their traces, and what belongs to them.
--
-- Instants are INTEGER nanoseconds since 1970 (UTC), held at 9223372036854775807; ids are BLOBs of 8 or 16 bytes;
-- attributes, events, links, inputs, outputs, provenance and lists are JSON text, NULL when there are none.
-- The columns that may be large come last, so that reading the others never walks through them.

-- Ended spans. One such table a day is made when its first row comes: spans_YYYYMMDD by the UTC day of started_at, a
-- copy of spans_default in all but the name. Days far from the present stay in spans_default. The view spans unites
-- them.
CREATE TABLE spans_default (
    trace_id             BLOB NOT NULL,
    span_id              BLOB NOT NULL,
    tenant               TEXT NOT NULL,
    parent_span_id       BLOB,
    started_at           INTEGER NOT NULL,
    duration_ns          INTEGER,
    status               TEXT NOT NULL,
    revision             INTEGER NOT NULL DEFAULT 0,
    created_at           INTEGER NOT NULL,
    service              TEXT,
    operation            TEXT,
    span_type            TEXT,
    kind                 INTEGER,
    otel_status          INTEGER,
    status_message       TEXT,
    error_type           TEXT,
    error_message        TEXT,
    error_stack          TEXT,
    execution_id         TEXT,
    job_id               TEXT,
    question_id          TEXT,
    workflow_id          TEXT,
    session_id           TEXT,
    user_id              TEXT,
    region               TEXT,
    model                TEXT,
    request_model        TEXT,
    provider             TEXT,
    input_tokens         INTEGER,
    output_tokens        INTEGER,
    cache_read_tokens    INTEGER,
    cache_write_tokens   INTEGER,
    cache_write_1h_tokens INTEGER,
    reasoning_tokens     INTEGER,
    audio_tokens         INTEGER,
    cost_pico            INTEGER,
    cost_source          TEXT,
    cost_status          TEXT,
    cost_role            TEXT,
    price_ref            TEXT,
    usage_basis          TEXT,
    retry_count          INTEGER,
    workspace_id         TEXT,
    release_target_key   TEXT,
    release_id           TEXT,
    parent_trace_id      TEXT,
    phase                TEXT,
    node_type            TEXT,
    decision             TEXT,
    result               TEXT,
    trigger              TEXT,
    depth                INTEGER,
    sequence             INTEGER,
    trace_state          TEXT,
    flags                INTEGER,
    dropped_attributes   INTEGER,
    dropped_events       INTEGER,
    dropped_links        INTEGER,
    provenance           TEXT,
    resource_id          BLOB,
    attributes           TEXT,
    inputs               TEXT,
    outputs              TEXT,
    events               TEXT,
    links                TEXT
);

CREATE UNIQUE INDEX spans_default_identity ON spans_default (trace_id, span_id, tenant);
CREATE INDEX spans_default_execution_id ON spans_default (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX spans_default_job_id ON spans_default (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX spans_default_release_target_key ON spans_default (release_target_key) WHERE release_target_key IS NOT NULL;
CREATE INDEX spans_default_release_id ON spans_default (release_id) WHERE release_id IS NOT NULL;
CREATE INDEX spans_default_parent_trace_id ON spans_default (parent_trace_id) WHERE parent_trace_id IS NOT NULL;
CREATE INDEX spans_default_workspace_id ON spans_default (workspace_id, started_at) WHERE workspace_id IS NOT NULL;
-- Of this table alone: rows of the days' tables go with their table.
CREATE INDEX spans_default_created_at ON spans_default (created_at);

-- Ended spans kept beyond their day's table: of failed and of pinned traces. Twins are possible: a retry that came after
-- its span had been moved here follows it when its own time has come.
CREATE TABLE spans_kept (
    trace_id             BLOB NOT NULL,
    span_id              BLOB NOT NULL,
    tenant               TEXT NOT NULL,
    parent_span_id       BLOB,
    started_at           INTEGER NOT NULL,
    duration_ns          INTEGER,
    status               TEXT NOT NULL,
    revision             INTEGER NOT NULL DEFAULT 0,
    created_at           INTEGER NOT NULL,
    service              TEXT,
    operation            TEXT,
    span_type            TEXT,
    kind                 INTEGER,
    otel_status          INTEGER,
    status_message       TEXT,
    error_type           TEXT,
    error_message        TEXT,
    error_stack          TEXT,
    execution_id         TEXT,
    job_id               TEXT,
    question_id          TEXT,
    workflow_id          TEXT,
    session_id           TEXT,
    user_id              TEXT,
    region               TEXT,
    model                TEXT,
    request_model        TEXT,
    provider             TEXT,
    input_tokens         INTEGER,
    output_tokens        INTEGER,
    cache_read_tokens    INTEGER,
    cache_write_tokens   INTEGER,
    cache_write_1h_tokens INTEGER,
    reasoning_tokens     INTEGER,
    audio_tokens         INTEGER,
    cost_pico            INTEGER,
    cost_source          TEXT,
    cost_status          TEXT,
    cost_role            TEXT,
    price_ref            TEXT,
    usage_basis          TEXT,
    retry_count          INTEGER,
    workspace_id         TEXT,
    release_target_key   TEXT,
    release_id           TEXT,
    parent_trace_id      TEXT,
    phase                TEXT,
    node_type            TEXT,
    decision             TEXT,
    result               TEXT,
    trigger              TEXT,
    depth                INTEGER,
    sequence             INTEGER,
    trace_state          TEXT,
    flags                INTEGER,
    dropped_attributes   INTEGER,
    dropped_events       INTEGER,
    dropped_links        INTEGER,
    provenance           TEXT,
    resource_id          BLOB,
    attributes           TEXT,
    inputs               TEXT,
    outputs              TEXT,
    events               TEXT,
    links                TEXT
);

CREATE INDEX spans_kept_identity ON spans_kept (trace_id, span_id, tenant);
CREATE INDEX spans_kept_created_at ON spans_kept (created_at);
CREATE INDEX spans_kept_execution_id ON spans_kept (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX spans_kept_job_id ON spans_kept (job_id) WHERE job_id IS NOT NULL;

-- The tables of spans. day: of those that hold one day, counted from 1970-01-01. filled: the columns, beside those that
-- every span fills, in which some row may hold something, so that reads leave out the others; separated by spaces.
CREATE TABLE span_tables (
    name   TEXT PRIMARY KEY,
    day    INTEGER UNIQUE,
    filled TEXT NOT NULL DEFAULT ''
);

INSERT INTO span_tables (name) VALUES ('open_spans'), ('spans_default'), ('spans_kept');

-- Made anew with every new day.
CREATE VIEW spans AS SELECT * FROM spans_kept UNION ALL SELECT * FROM spans_default;

-- Spans that have not ended, and completions whose start is unknown. deadline: when silence makes it abandoned.
CREATE TABLE open_spans (
    trace_id             BLOB NOT NULL,
    span_id              BLOB NOT NULL,
    tenant               TEXT NOT NULL,
    parent_span_id       BLOB,
    started_at           INTEGER,
    duration_ns          INTEGER,
    status               TEXT NOT NULL,
    revision             INTEGER NOT NULL DEFAULT 0,
    created_at           INTEGER NOT NULL,
    service              TEXT,
    operation            TEXT,
    span_type            TEXT,
    kind                 INTEGER,
    otel_status          INTEGER,
    status_message       TEXT,
    error_type           TEXT,
    error_message        TEXT,
    error_stack          TEXT,
    execution_id         TEXT,
    job_id               TEXT,
    question_id          TEXT,
    workflow_id          TEXT,
    session_id           TEXT,
    user_id              TEXT,
    region               TEXT,
    model                TEXT,
    request_model        TEXT,
    provider             TEXT,
    input_tokens         INTEGER,
    output_tokens        INTEGER,
    cache_read_tokens    INTEGER,
    cache_write_tokens   INTEGER,
    cache_write_1h_tokens INTEGER,
    reasoning_tokens     INTEGER,
    audio_tokens         INTEGER,
    cost_pico            INTEGER,
    cost_source          TEXT,
    cost_status          TEXT,
    cost_role            TEXT,
    price_ref            TEXT,
    usage_basis          TEXT,
    retry_count          INTEGER,
    workspace_id         TEXT,
    release_target_key   TEXT,
    release_id           TEXT,
    parent_trace_id      TEXT,
    phase                TEXT,
    node_type            TEXT,
    decision             TEXT,
    result               TEXT,
    trigger              TEXT,
    depth                INTEGER,
    sequence             INTEGER,
    trace_state          TEXT,
    flags                INTEGER,
    dropped_attributes   INTEGER,
    dropped_events       INTEGER,
    dropped_links        INTEGER,
    provenance           TEXT,
    ended_at             INTEGER,
    seen_at              INTEGER NOT NULL,
    deadline             INTEGER NOT NULL,
    resource_id          BLOB,
    attributes           TEXT,
    inputs               TEXT,
    outputs              TEXT,
    events               TEXT,
    links                TEXT,
    PRIMARY KEY (trace_id, span_id, tenant)
);

CREATE INDEX open_spans_deadline ON open_spans (deadline);
CREATE INDEX open_spans_execution_id ON open_spans (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX open_spans_job_id ON open_spans (job_id) WHERE job_id IS NOT NULL;

-- OpenTelemetry's resource and scope of spans, once each. id: the first 16 bytes of the content's SHA-256.
CREATE TABLE resources (
    id            BLOB PRIMARY KEY,
    content       TEXT NOT NULL,
    last_seen_day INTEGER NOT NULL
);

-- One row a trace: what lists show of it. first_day and last_day bound where its spans are. It is settled when its
-- roll-up knows all spans: settled = touched. spans_partial: some of its spans were removed for their age, or are about to
-- be; spans_expired_at: when the last of them were. Either way its roll-up is final.
CREATE TABLE traces (
    trace_id       BLOB NOT NULL,
    tenant         TEXT NOT NULL,
    first_day      INTEGER,
    last_day       INTEGER,
    touched        INTEGER NOT NULL DEFAULT 1,
    settled        INTEGER NOT NULL DEFAULT 0,
    created_at     INTEGER NOT NULL,
    root_service   TEXT,
    root_operation TEXT,
    status         TEXT NOT NULL DEFAULT 'running',
    started_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    duration_ns    INTEGER,
    error_type     TEXT,
    error_message  TEXT,
    error_service  TEXT,
    span_count     INTEGER NOT NULL DEFAULT 0,
    error_count    INTEGER NOT NULL DEFAULT 0,
    orphan_count   INTEGER NOT NULL DEFAULT 0,
    open_count     INTEGER NOT NULL DEFAULT 0,
    services       TEXT,
    execution_id   TEXT,
    job_id         TEXT,
    question_id    TEXT,
    workflow_id    TEXT,
    session_id     TEXT,
    user_id        TEXT,
    regions        TEXT,
    models         TEXT,
    input_tokens   INTEGER,
    output_tokens  INTEGER,
    cost_pico      INTEGER,
    query          TEXT,
    spans_partial  INTEGER NOT NULL DEFAULT 0,
    spans_expired_at INTEGER,
    metadata       TEXT,
    PRIMARY KEY (trace_id, tenant)
);

CREATE INDEX traces_started_at ON traces (tenant, started_at, trace_id);
CREATE INDEX traces_execution_id ON traces (execution_id) WHERE execution_id IS NOT NULL;
CREATE INDEX traces_job_id ON traces (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX traces_unsettled ON traces (created_at) WHERE settled < touched;
CREATE INDEX traces_partial ON traces (trace_id) WHERE spans_partial;
CREATE INDEX traces_expired ON traces (created_at) WHERE spans_expired_at IS NOT NULL;

-- Traces that somebody wants to keep, whatever their age.
CREATE TABLE pins (
    trace_id  BLOB NOT NULL,
    tenant    TEXT NOT NULL,
    pinned_at INTEGER NOT NULL,
    PRIMARY KEY (trace_id, tenant)
) WITHOUT ROWID;

-- Spans that the store refused, as they were, with the reason.
CREATE TABLE dead_letters (
    id         INTEGER PRIMARY KEY,
    tenant     TEXT NOT NULL,
    trace_id   TEXT NOT NULL,
    span_id    TEXT NOT NULL,
    body       TEXT NOT NULL,
    reason     TEXT NOT NULL,
    refused_at INTEGER NOT NULL
);

-- Who does what only one may do, until when.
CREATE TABLE leases (
    name   TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    until  INTEGER NOT NULL
) WITHOUT ROWID;

-- How far a recurring or a long job has come, in the job's own words.
CREATE TABLE checkpoints (
    name    TEXT PRIMARY KEY,
    reached TEXT NOT NULL
) WITHOUT ROWID;

-- What follows is for people with sqlite3: docs/sql.md says what each of it shows.

-- Spans as people read them: ids in hex, times in ISO 8601, open ones among the ended.
CREATE VIEW trace_spans AS
WITH rows AS (
    SELECT trace_id, span_id, parent_span_id, service, operation, started_at, started_at + duration_ns AS ended_at,
        duration_ns, status, error_message, error_type, execution_id, job_id, model, region, attributes, created_at
    FROM spans
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, service, operation, started_at, ended_at, duration_ns,
        CASE WHEN status IN ('pending', 'running') AND deadline < unixepoch() * 1000000000 THEN 'abandoned'
             ELSE status END,
        error_message, error_type, execution_id, job_id, model, region, attributes, created_at
    FROM open_spans
)
SELECT
    lower(hex(trace_id)) || '-' || lower(hex(span_id)) AS id,
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    CASE WHEN parent_span_id IS NOT NULL THEN lower(hex(parent_span_id)) END AS parent_span_id,
    service,
    operation,
    strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', started_at % 1000000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', ended_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', ended_at % 1000000000) AS completed_at,
    duration_ns / 1e6 AS duration_ms,
    status,
    error_message,
    error_type,
    execution_id,
    job_id,
    model AS model_id,
    region,
    coalesce(attributes, '{}') AS metadata,
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', created_at % 1000000000) AS created_at
FROM rows;

-- The spans of a trace as a tree, in pre-order: as the waterfall over HTTP, but that spans below the 1000th level are left
-- out. What is computed is handed on from step to step as JSON in a column, since SQLite computes a named subquery anew, as
-- a whole, wherever its name stands.
CREATE VIEW trace_waterfall AS
SELECT
    lower(hex(known.trace_id)) AS trace_id,
    known.execution_id AS execution_id,
    line.value ->> 0 AS path,
    line.value ->> 1 AS depth,
    substr(printf('%*s', 2 * (line.value ->> 1) + 1, ''), 2) || CASE WHEN line.value ->> 15 LIKE 'placeholder%' THEN '?'
        ELSE coalesce((line.value ->> 4) || ': ' || (line.value ->> 5), line.value ->> 4, line.value ->> 5, '') END AS step,
    line.value ->> 2 AS span_id,
    line.value ->> 3 AS parent_span_id,
    line.value ->> 4 AS service,
    line.value ->> 5 AS operation,
    line.value ->> 6 AS span_type,
    line.value ->> 7 AS status,
    strftime('%Y-%m-%dT%H:%M:%S', (line.value ->> 8) / 1000000000, 'unixepoch')
        || printf('.%09dZ', (line.value ->> 8) % 1000000000) AS started_at,
    strftime('%Y-%m-%dT%H:%M:%S', (line.value ->> 9) / 1000000000, 'unixepoch')
        || printf('.%09dZ', (line.value ->> 9) % 1000000000) AS completed_at,
    (line.value ->> 10) / 1e6 AS offset_ms,
    (line.value ->> 11) / 1e6 AS duration_ms,
    (line.value ->> 12) / 1e6 AS self_ms,
    line.value ->> 15 AS note,
    line.value ->> 13 AS error_type,
    line.value ->> 14 AS error_message,
    line.value ->> 16 AS job_id,
    line.value ->> 17 AS model_id,
    line.value ->> 18 AS region,
    line.value ->> 19 AS input_tokens,
    line.value ->> 20 AS output_tokens,
    (line.value ->> 21) / 1e12 AS cost_usd,
    known.tenant AS tenant
FROM (
    SELECT trace_id, tenant, execution_id
    FROM traces
    WHERE execution_id IS NOT NULL OR settled >= touched
    UNION ALL
    -- No roll-up says yet which execution this is.
    SELECT trace_id, tenant, coalesce(
        (SELECT execution_id FROM spans
            WHERE spans.trace_id = traces.trace_id AND spans.tenant = traces.tenant AND spans.execution_id IS NOT NULL),
        (SELECT execution_id FROM open_spans
            WHERE open_spans.trace_id = traces.trace_id AND open_spans.tenant = traces.tenant
                AND open_spans.execution_id IS NOT NULL)
    )
    FROM traces
    WHERE settled < touched AND execution_id IS NULL
) AS known
-- The spans, open and ended. Of the rows of one span the strongest counts, from the earliest start.
CROSS JOIN json_each(json_array((
    WITH stored AS (
        SELECT span_id, parent_span_id, started_at, started_at + duration_ns AS ended_at, created_at,
            created_at AS seen_at, NULL AS deadline, duration_ns, revision, status, service, operation, span_type,
            error_type, coalesce(error_message, status_message) AS error_message, job_id, model, region, input_tokens,
            output_tokens, cost_pico
        FROM spans
        WHERE spans.trace_id = known.trace_id AND spans.tenant = known.tenant
        UNION ALL
        SELECT span_id, parent_span_id, started_at, ended_at, created_at,
            seen_at, deadline, duration_ns, revision, status, service, operation, span_type,
            error_type, coalesce(error_message, status_message), job_id, model, region, input_tokens,
            output_tokens, cost_pico
        FROM open_spans
        WHERE open_spans.trace_id = known.trace_id AND open_spans.tenant = known.tenant
    ),
    ranked AS (
        SELECT *,
            min(started_at) OVER (PARTITION BY span_id) AS first_at,
            row_number() OVER (
                PARTITION BY span_id
                ORDER BY CASE status WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 2 END DESC,
                    ended_at DESC NULLS LAST,
                    revision DESC,
                    CASE status WHEN 'failed' THEN 3 WHEN 'cancelled' THEN 2 WHEN 'completed' THEN 1 ELSE 0 END DESC
            ) AS weakness
        FROM stored
    )
    SELECT json_group_array(json_array(
        lower(hex(span_id)), CASE WHEN parent_span_id IS NOT NULL THEN lower(hex(parent_span_id)) END,
        first_at, ended_at, created_at, seen_at, deadline - seen_at, duration_ns, status IN ('pending', 'running'), status,
        service, operation, span_type, error_type, error_message, job_id, model, region, input_tokens, output_tokens,
        cost_pico,
        -- A time before 2000, or five minutes after it was heard of, cannot be right.
        coalesce(min(coalesce(first_at, ended_at), coalesce(ended_at, first_at)) < 946684800000000000, 0)
            OR coalesce(max(coalesce(first_at, ended_at), coalesce(ended_at, first_at)) - seen_at > 300000000000, 0)
    ))
    FROM ranked
    WHERE weakness = 1
))) AS told
-- Each span, and each parent that no span has (a placeholder), with what it hangs under and its number among those there.
CROSS JOIN json_each(json_array((
    WITH RECURSIVE
    span AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 1 AS parent_span_id, coalesce(value ->> 2, value ->> 3) AS at,
            value ->> 4 AS created_at, value ->> 21 AS is_suspect,
            row_number() OVER (ORDER BY coalesce(value ->> 2, value ->> 3) NULLS LAST, value ->> 0) AS place
        FROM json_each(told.value)
    ),
    -- A parent of 64 bits may be one half of the only span id of 128 bits that has it.
    halves AS (
        SELECT half, min(span_id) AS span_id
        FROM (
            SELECT span_id, substr(span_id, 1, 16) AS half FROM span WHERE length(span_id) = 32
            UNION
            SELECT span_id, substr(span_id, 17, 16) FROM span WHERE length(span_id) = 32
        )
        GROUP BY half
        HAVING count(*) = 1
    ),
    linked AS MATERIALIZED (
        SELECT child.span_id, coalesce(parent.span_id, halves.span_id, child.parent_span_id) AS under,
            child.parent_span_id IS NOT NULL AND parent.span_id IS NULL AND halves.span_id IS NULL AS is_orphan,
            child.at, child.created_at, child.is_suspect, child.place
        FROM span AS child
        LEFT JOIN span AS parent ON parent.span_id = child.parent_span_id
        LEFT JOIN halves ON halves.half = child.parent_span_id AND parent.span_id IS NULL
    ),
    -- Up from each span as long as those above come later: who gets back to himself is the first of a circle.
    climb (origin, origin_place, at, steps) AS (
        SELECT span_id, place, under, 1 FROM linked WHERE under IS NOT NULL
        UNION ALL
        SELECT climb.origin, climb.origin_place, linked.under, climb.steps + 1
        FROM climb
        JOIN linked ON linked.span_id = climb.at
        WHERE climb.at <> climb.origin AND linked.place > climb.origin_place AND linked.under IS NOT NULL
            AND climb.steps < 1000
    ),
    node AS (
        SELECT linked.span_id, CASE WHEN origin IS NULL THEN under END AS under, linked.at, created_at, place, is_suspect,
            is_orphan, 0 AS is_placeholder, origin IS NOT NULL AS is_cut
        FROM linked
        LEFT JOIN (SELECT origin FROM climb WHERE at = origin) ON origin = linked.span_id
        UNION ALL
        -- It stands where its first orphan does.
        SELECT under, NULL, coalesce(min(at) FILTER (WHERE NOT is_suspect), min(at)), min(created_at), min(place),
            min(is_suspect), 0, 1, 0
        FROM linked
        WHERE is_orphan
        GROUP BY under
    )
    SELECT json_group_array(json_array(span_id, under, coalesce(at, CASE WHEN under IS NULL THEN created_at END),
        is_orphan, is_placeholder, is_cut, is_suspect, number))
    FROM (
        SELECT *, row_number() OVER (
                PARTITION BY under
                ORDER BY CASE WHEN under IS NOT NULL THEN 0 WHEN is_placeholder THEN 1 WHEN is_cut THEN 2 ELSE 0 END,
                    under IS NULL AND is_suspect, place
            ) AS number
        FROM node
    )
))) AS hanging
-- The same with their places in the tree.
CROSS JOIN json_each(json_array((
    WITH RECURSIVE
    node AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 1 AS under, value ->> 2 AS at, value ->> 3 AS is_orphan,
            value ->> 4 AS is_placeholder, value ->> 5 AS is_cut, value ->> 6 AS is_suspect, value ->> 7 AS number
        FROM json_each(hanging.value)
    ),
    tree (span_id, depth, path, start, under, is_orphan, is_placeholder, is_cut, is_suspect) AS (
        SELECT span_id, 0, printf('%06d', number), at, under, is_orphan, is_placeholder, is_cut, is_suspect
        FROM node
        WHERE under IS NULL
        UNION ALL
        SELECT node.span_id, tree.depth + 1, tree.path || printf('.%06d', node.number), coalesce(node.at, tree.start),
            node.under, node.is_orphan, node.is_placeholder, node.is_cut, node.is_suspect
        FROM tree
        JOIN node ON node.under = tree.span_id
        WHERE tree.depth < 999
    )
    SELECT json_group_array(json_array(span_id, depth, path, start, under, is_orphan, is_placeholder, is_cut, is_suspect,
        depth = 999 AND EXISTS (SELECT 1 FROM json_each(hanging.value) AS below WHERE below.value ->> 1 = tree.span_id)))
    FROM tree
))) AS placed
-- The same with their times as they are drawn.
CROSS JOIN json_each(json_array((
    WITH span AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 2 AS first_at, value ->> 3 AS ended_at, value ->> 5 AS seen_at,
            value ->> 6 AS patience, value ->> 7 AS duration_ns, value ->> 8 AS is_open
        FROM json_each(told.value)
    ),
    node AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 2 AS path, value ->> 3 AS start, value ->> 5 AS is_orphan,
            value ->> 6 AS is_placeholder, seen_at, patience, first_at, ended_at, duration_ns,
            coalesce(is_open, 0) AS is_open
        FROM json_each(placed.value)
        LEFT JOIN span ON span.span_id = value ->> 0
    ),
    -- An open span is as alive as what runs below it, and the trace's root as anything in the trace.
    alive AS (
        SELECT parent.span_id, max(below.seen_at) AS last_at,
            max(below.seen_at) + parent.patience < unixepoch() * 1000000000 AS is_silent
        FROM node AS parent
        JOIN node AS below ON parent.path = '000001'
            OR parent.path = '000001.000001' AND parent.is_orphan
            OR below.path >= parent.path AND below.path < parent.path || '/'
        WHERE parent.is_open
        GROUP BY parent.span_id
    )
    SELECT json_group_array(json_array(
        node.span_id,
        max(start, CASE
            WHEN ended_at IS NOT NULL THEN ended_at
            WHEN duration_ns IS NOT NULL THEN start + duration_ns
            WHEN is_placeholder OR NOT is_open OR first_at IS NULL THEN start
            WHEN is_silent THEN last_at
            ELSE unixepoch() * 1000000000
        END),
        is_silent,
        is_placeholder OR NOT is_open AND ended_at IS NULL AND duration_ns IS NULL
    ))
    FROM node
    LEFT JOIN alive ON alive.span_id = node.span_id
))) AS drawn
-- Ends of those that last as long as their children.
CROSS JOIN json_each(json_array((
    WITH stop AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 1 AS at, value ->> 3 AS lasts FROM json_each(drawn.value)
    ),
    children AS (
        SELECT value ->> 4 AS span_id, max(stop.at) AS last_at
        FROM json_each(placed.value)
        JOIN stop ON stop.span_id = value ->> 0
        WHERE value ->> 4 IS NOT NULL AND NOT value ->> 8
        GROUP BY 1
    )
    SELECT json_group_object(stop.span_id, CASE WHEN lasts THEN max(at, coalesce(last_at, at)) ELSE at END)
    FROM stop
    LEFT JOIN children ON children.span_id = stop.span_id
))) AS ends
CROSS JOIN json_each((
    WITH node AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value ->> 1 AS depth, value ->> 2 AS path, value ->> 3 AS start,
            value ->> 4 AS under, value ->> 5 AS is_orphan, value ->> 6 AS is_placeholder, value ->> 7 AS is_cut,
            value ->> 8 AS is_suspect, value ->> 9 AS is_truncated
        FROM json_each(placed.value)
    ),
    final AS MATERIALIZED (
        SELECT key AS span_id, value AS stop FROM json_each(ends.value)
    ),
    timed AS MATERIALIZED (
        SELECT node.*, final.stop FROM node JOIN final ON final.span_id = node.span_id
    ),
    -- Each child's share of its parent's time, less what earlier siblings cover.
    clipped AS (
        SELECT parent.span_id, min(max(child.start, parent.start), parent.stop) AS start,
            min(max(child.stop, parent.start), parent.stop) AS stop
        FROM timed AS child
        JOIN timed AS parent ON parent.span_id = child.under
    ),
    in_order AS (
        SELECT span_id, start, stop, max(stop) OVER (
                PARTITION BY span_id ORDER BY start, stop ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before
        FROM clipped
    ),
    covered AS (
        SELECT span_id, sum(max(0, stop - max(start, coalesce(before, start)))) AS length FROM in_order GROUP BY span_id
    ),
    span AS MATERIALIZED (
        SELECT value ->> 0 AS span_id, value AS fields FROM json_each(told.value)
    ),
    silent AS (
        SELECT value ->> 0 AS span_id FROM json_each(drawn.value) WHERE value ->> 2
    ),
    lines AS (
        SELECT timed.*, covered.length, span.fields, silent.span_id IS NOT NULL AS is_silent,
            (SELECT coalesce(min(start) FILTER (WHERE NOT is_suspect), min(start)) FROM node) AS begin
        FROM timed
        LEFT JOIN covered ON covered.span_id = timed.span_id
        LEFT JOIN span ON span.span_id = timed.span_id
        LEFT JOIN silent ON silent.span_id = timed.span_id
        ORDER BY timed.path
    )
    SELECT json_group_array(json_array(
        path,
        depth,
        span_id,
        coalesce(under, fields ->> 1),
        fields ->> 10,
        fields ->> 11,
        fields ->> 12,
        CASE WHEN is_silent THEN 'abandoned' ELSE fields ->> 9 END,
        fields ->> 2,
        CASE WHEN NOT fields ->> 8 THEN fields ->> 3 END,
        start - begin,
        CASE
            WHEN fields ->> 8 THEN NULL
            WHEN fields ->> 3 IS NOT NULL AND fields ->> 2 IS NOT NULL THEN max(0, (fields ->> 3) - (fields ->> 2))
            WHEN fields ->> 7 IS NOT NULL THEN max(0, fields ->> 7)
        END,
        CASE WHEN is_placeholder THEN 0 ELSE stop - start - coalesce(length, 0) END,
        fields ->> 13,
        fields ->> 14,
        nullif(trim(
            CASE WHEN is_placeholder THEN 'placeholder ' ELSE '' END
            || CASE WHEN is_orphan THEN 'orphan ' ELSE '' END
            || CASE WHEN is_cut THEN 'cycle ' ELSE '' END
            || CASE WHEN fields ->> 8 THEN 'open ' ELSE '' END
            || CASE WHEN is_suspect THEN 'clock_suspect ' ELSE '' END
            || CASE WHEN is_truncated THEN 'truncated' ELSE '' END
        ), ''),
        fields ->> 15,
        fields ->> 16,
        fields ->> 17,
        fields ->> 18,
        fields ->> 19,
        fields ->> 20
    ))
    FROM lines
)) AS line;

-- Totals of the store, by the roll-ups: a walk through the list of traces, and through the spans of those that have none
-- yet. Spans of the last day and hour are those of traces that were first heard of in that time; the average is that of
-- the 200 newest traces. (MATERIALIZED makes SQLite look into the tables of the days by their indexes.)
CREATE VIEW trace_spans_health AS
WITH counted AS MATERIALIZED (
    SELECT created_at, CASE WHEN settled >= touched THEN span_count ELSE (
            WITH rows AS MATERIALIZED (
                SELECT 1 FROM spans WHERE spans.trace_id = traces.trace_id AND spans.tenant = traces.tenant
                UNION ALL
                SELECT 1 FROM open_spans WHERE open_spans.trace_id = traces.trace_id AND open_spans.tenant = traces.tenant
            )
            SELECT count(*) FROM rows
        ) END AS span_count
    FROM traces
),
newest AS (
    SELECT (
            WITH rows AS MATERIALIZED (
                SELECT duration_ns FROM spans WHERE spans.trace_id = traces.trace_id AND spans.tenant = traces.tenant
            )
            SELECT json_array(sum(duration_ns), count(duration_ns)) FROM rows
        ) AS durations
    FROM (SELECT trace_id, tenant FROM traces ORDER BY rowid DESC LIMIT 200) AS traces
),
size AS (
    SELECT (page_count - freelist_count) * page_size / 1024 AS kib
    FROM pragma_page_count, pragma_freelist_count, pragma_page_size
)
SELECT
    coalesce(sum(span_count), 0) AS total_spans,
    coalesce(sum(span_count) FILTER (WHERE created_at > (unixepoch() - 86400) * 1000000000), 0) AS spans_last_24h,
    coalesce(sum(span_count) FILTER (WHERE created_at > (unixepoch() - 3600) * 1000000000), 0) AS spans_last_hour,
    -- Not known without reading all of the file.
    NULL AS table_size,
    (SELECT CASE WHEN kib < 10240 THEN kib || ' kB' ELSE kib / 1024 || ' MB' END FROM size) AS total_size_with_indexes,
    count(*) AS unique_traces,
    (SELECT sum(durations ->> 0) / (1e6 * sum(durations ->> 1)) FROM newest) AS avg_duration_ms
FROM counted;

-- Spans of deployments, under the names that a deployment platform gives them.
CREATE VIEW deployment_trace_span AS
WITH rows AS (
    SELECT trace_id, span_id, parent_span_id, operation, started_at, started_at + duration_ns AS ended_at, workspace_id,
        release_target_key, release_id, job_id, parent_trace_id, phase, node_type, status, depth, sequence, attributes,
        events, created_at
    FROM spans
    UNION ALL
    SELECT trace_id, span_id, parent_span_id, operation, started_at, ended_at, workspace_id,
        release_target_key, release_id, job_id, parent_trace_id, phase, node_type,
        CASE WHEN status IN ('pending', 'running') AND deadline < unixepoch() * 1000000000 THEN 'abandoned'
             ELSE status END,
        depth, sequence, attributes, events, created_at
    FROM open_spans
)
SELECT
    lower(hex(trace_id)) || '-' || lower(hex(span_id)) AS id,
    lower(hex(trace_id)) AS trace_id,
    lower(hex(span_id)) AS span_id,
    CASE WHEN parent_span_id IS NOT NULL THEN lower(hex(parent_span_id)) END AS parent_span_id,
    operation AS name,
    strftime('%Y-%m-%dT%H:%M:%S', started_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', started_at % 1000000000) AS start_time,
    strftime('%Y-%m-%dT%H:%M:%S', ended_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', ended_at % 1000000000) AS end_time,
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
    strftime('%Y-%m-%dT%H:%M:%S', created_at / 1000000000, 'unixepoch')
        || printf('.%09dZ', created_at % 1000000000) AS created_at
FROM rows
WHERE workspace_id IS NOT NULL OR release_target_key IS NOT NULL OR release_id IS NOT NULL;

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
-- out. It is computed in steps. Each hands its result on as a JSON array of one value, mostly an object by span id, which
-- the next ones find in the column json as it is. (A named subquery in its place would be computed anew, as a whole,
-- wherever its name stands, and one that depends on the trace is never joined by an index.)
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
CROSS JOIN json_each((
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
            min(created_at) OVER (PARTITION BY span_id) AS heard_at,
            row_number() OVER (
                PARTITION BY span_id
                ORDER BY CASE status WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 2 END DESC,
                    ended_at DESC NULLS LAST,
                    revision DESC,
                    CASE status WHEN 'failed' THEN 3 WHEN 'cancelled' THEN 2 WHEN 'completed' THEN 1 ELSE 0 END DESC
            ) AS weakness
        FROM stored
    )
    SELECT json_array(json_group_object(lower(hex(span_id)), json_array(
        CASE WHEN parent_span_id IS NOT NULL THEN lower(hex(parent_span_id)) END,
        first_at, ended_at, heard_at, coalesce(min(ended_at, unixepoch() * 1000000000), seen_at), deadline - seen_at,
        duration_ns, status IN ('pending', 'running'), status, service, operation, span_type, error_type, error_message,
        job_id, model, region, input_tokens, output_tokens, cost_pico,
        -- A time before 2000, a start five minutes after it was heard of, and an end five minutes from now cannot be right.
        coalesce(first_at < 946684800000000000 OR first_at - heard_at > 300000000000, 0),
        coalesce(ended_at < 946684800000000000 OR ended_at / 1000000000 - unixepoch() > 300, 0)
    )))
    FROM ranked
    WHERE weakness = 1
)) AS told
-- A parent of 64 bits may be one half of the only span id of 128 bits that has it.
CROSS JOIN json_each((
    SELECT json_array(json_group_object(half, span_id))
    FROM (
        SELECT half, min(span_id) AS span_id
        FROM (
            SELECT key AS span_id, substr(key, 1, 16) AS half FROM json_each(told.json, '$[0]') WHERE length(key) = 32
            UNION
            SELECT key, substr(key, 17, 16) FROM json_each(told.json, '$[0]') WHERE length(key) = 32
        )
        GROUP BY half
        HAVING count(*) = 1
    )
)) AS halves
-- Each span's place among all, what it hangs under, whether that has not come, and its time.
CROSS JOIN json_each((
    WITH span AS MATERIALIZED (
        SELECT key AS span_id, value ->> 0 AS parent, coalesce(value ->> 1, value ->> 2) AS at, value ->> 3 AS created_at,
            value ->> 20 AS starts_suspect, value ->> 20 OR value ->> 21 AS is_suspect,
            CASE WHEN json_extract(told.json, '$[0]."' || (value ->> 0) || '"[8]') IS NOT NULL THEN value ->> 0
                ELSE json_extract(halves.json, '$[0]."' || (value ->> 0) || '"') END AS whole
        FROM json_each(told.json, '$[0]')
    ),
    numbered AS (
        SELECT *, row_number() OVER (ORDER BY at NULLS LAST, span_id) AS place FROM span
    )
    SELECT json_array(json_group_object(span_id, json_array(
        place, coalesce(whole, parent), parent IS NOT NULL AND whole IS NULL, at, created_at, is_suspect,
        starts_suspect)))
    FROM numbered
)) AS linked
-- Up from each span as long as those above come later: who gets back to himself is the first of a circle.
CROSS JOIN json_each((
    WITH RECURSIVE climb (origin, place, at, steps) AS (
        SELECT key, value ->> 0, value ->> 1, 1
        FROM json_each(linked.json, '$[0]')
        WHERE json_extract(linked.json, '$[0]."' || (value ->> 1) || '"[0]') >= value ->> 0
        UNION ALL
        SELECT origin, place, json_extract(linked.json, '$[0]."' || at || '"[1]'), steps + 1
        FROM climb
        WHERE at <> origin AND json_extract(linked.json, '$[0]."' || at || '"[0]') > place AND steps < 1000
    )
    SELECT json_array(json_group_object(origin, 1)) FROM climb WHERE at = origin
)) AS cut
-- What hangs under each span, with its number there, and under "roots" what hangs nowhere. A parent that no span has, a
-- placeholder, is one of these; it stands where its first orphan does.
CROSS JOIN json_each((
    WITH span AS (
        SELECT key AS span_id, value ->> 1 AS under, value ->> 0 AS place, value ->> 3 AS at, value ->> 4 AS created_at,
            value ->> 5 AS is_suspect, value ->> 6 AS starts_suspect, value ->> 2 AS is_orphan,
            json_extract(cut.json, '$[0]."' || key || '"') IS NOT NULL AS is_cut
        FROM json_each(linked.json, '$[0]')
    ),
    node AS (
        SELECT span_id, CASE WHEN is_cut THEN 'roots' ELSE coalesce(under, 'roots') END AS under,
            coalesce(at, CASE WHEN under IS NULL OR is_cut THEN created_at END) AS start, place, is_suspect,
            starts_suspect AS goes_last, is_orphan, 0 AS is_placeholder, is_cut
        FROM span
        UNION ALL
        SELECT under, 'roots', coalesce(min(at) FILTER (WHERE NOT is_suspect), min(at), min(created_at)), min(place),
            min(is_suspect), min(2 * place + starts_suspect) % 2, 0, 1, 0
        FROM span
        WHERE is_orphan
        GROUP BY under
    ),
    numbered AS (
        SELECT *, row_number() OVER (
                PARTITION BY under
                ORDER BY CASE WHEN under <> 'roots' THEN 0 WHEN is_placeholder THEN 1 WHEN is_cut THEN 2 ELSE 0 END,
                    under = 'roots' AND goes_last, place
            ) AS number
        FROM node
    ),
    grouped AS (
        SELECT under, json_group_array(json_array(span_id, number, start, is_orphan, is_placeholder, is_cut, is_suspect))
            AS below
        FROM numbered
        GROUP BY under
    )
    SELECT json_array(json_group_object(under, json(below))) FROM grouped
)) AS hanging
-- The places of all in the tree.
CROSS JOIN json_each((
    WITH RECURSIVE tree (span_id, depth, path, start, under, is_orphan, is_placeholder, is_cut, is_suspect) AS (
        SELECT value ->> 0, 0, printf('%06d', value ->> 1), value ->> 2, NULL, value ->> 3, value ->> 4, value ->> 5,
            value ->> 6
        FROM json_each(hanging.json, '$[0].roots')
        UNION ALL
        SELECT value ->> 0, depth + 1, tree.path || printf('.%06d', value ->> 1), coalesce(value ->> 2, start), span_id,
            value ->> 3, value ->> 4, value ->> 5, value ->> 6
        FROM tree
        JOIN json_each(json_extract(hanging.json, '$[0]."' || span_id || '"'))
        WHERE depth < 999
    )
    SELECT json_array(json_group_object(span_id, json_array(
        path, depth, start, under, is_orphan, is_placeholder, is_cut, is_suspect,
        depth = 999 AND json_extract(hanging.json, '$[0]."' || span_id || '"') IS NOT NULL)))
    FROM tree
)) AS placed
-- When an open span was last heard of: it is as alive as what runs below it, and the trace's root as anything in the trace.
CROSS JOIN json_each((
    SELECT json_array(json_group_object(span_id, json_array(last_at, last_at + patience < unixepoch() * 1000000000)))
    FROM (
        SELECT parent.key AS span_id, json_extract(told.json, '$[0]."' || parent.key || '"[5]') AS patience,
            max(json_extract(told.json, '$[0]."' || below.key || '"[4]')) AS last_at
        FROM json_each(placed.json, '$[0]') AS parent
        JOIN json_each(placed.json, '$[0]') AS below
            ON parent.value ->> 0 = '000001'
            OR parent.value ->> 0 = '000001.000001' AND parent.value ->> 4
            OR below.value ->> 0 >= parent.value ->> 0 AND below.value ->> 0 < (parent.value ->> 0) || '/'
        WHERE json_extract(told.json, '$[0]."' || parent.key || '"[7]')
        GROUP BY parent.key
    )
)) AS alive
-- Where each is drawn to end, and whether it lasts as long as its children.
CROSS JOIN json_each((
    SELECT json_array(json_group_object(span_id, json_array(
        max(start, CASE
            WHEN ended_at IS NOT NULL THEN ended_at
            WHEN duration_ns IS NOT NULL THEN start + duration_ns
            WHEN is_placeholder OR NOT is_open OR first_at IS NULL THEN start
            WHEN silence ->> 1 THEN silence ->> 0
            ELSE unixepoch() * 1000000000
        END),
        is_placeholder OR NOT is_open AND ended_at IS NULL AND duration_ns IS NULL,
        under,
        is_suspect
    )))
    FROM (
        SELECT span_id, start, under, is_placeholder, is_suspect, fields ->> 1 AS first_at, fields ->> 2 AS ended_at,
            fields ->> 6 AS duration_ns, fields ->> 7 AS is_open, silence
        FROM (
            SELECT key AS span_id, value ->> 2 AS start, value ->> 3 AS under, value ->> 5 AS is_placeholder,
                value ->> 7 AS is_suspect, json_extract(told.json, '$[0]."' || key || '"') AS fields,
                json_extract(alive.json, '$[0]."' || key || '"') AS silence
            FROM json_each(placed.json, '$[0]')
        )
    )
)) AS drawn
-- The latest end of each one's children.
CROSS JOIN json_each((
    SELECT json_array(json_group_object(under, last_at))
    FROM (
        SELECT value ->> 2 AS under, max(value ->> 0) AS last_at
        FROM json_each(drawn.json, '$[0]')
        WHERE value ->> 2 IS NOT NULL AND NOT value ->> 3
        GROUP BY 1
    )
)) AS latest
CROSS JOIN json_each((
    SELECT json_array(json_group_object(key, CASE
        WHEN value ->> 1 THEN max(value ->> 0, coalesce(json_extract(latest.json, '$[0]."' || key || '"'), value ->> 0))
        ELSE value ->> 0 END))
    FROM json_each(drawn.json, '$[0]')
)) AS ends
-- How much of each one's time its children cover: of each child what earlier siblings have not covered.
CROSS JOIN json_each((
    WITH child AS MATERIALIZED (
        SELECT value ->> 3 AS under, value ->> 2 AS start, json_extract(ends.json, '$[0]."' || key || '"') AS stop,
            json_extract(placed.json, '$[0]."' || (value ->> 3) || '"[2]') AS from_at,
            json_extract(ends.json, '$[0]."' || (value ->> 3) || '"') AS until_at
        FROM json_each(placed.json, '$[0]')
        WHERE value ->> 3 IS NOT NULL
    ),
    clipped AS (
        SELECT under, min(max(start, from_at), until_at) AS start, min(max(stop, from_at), until_at) AS stop FROM child
    ),
    in_order AS (
        SELECT *, max(stop) OVER (
                PARTITION BY under ORDER BY start, stop ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS before
        FROM clipped
    ),
    summed AS (
        SELECT under, sum(max(0, stop - max(start, coalesce(before, start)))) AS covered FROM in_order GROUP BY under
    )
    SELECT json_array(json_group_object(under, covered)) FROM summed
)) AS covered
CROSS JOIN json_each((
    WITH line AS MATERIALIZED (
        SELECT key AS span_id, value ->> 0 AS path, value ->> 1 AS depth, value ->> 2 AS start, value ->> 3 AS under,
            value ->> 4 AS is_orphan, value ->> 5 AS is_placeholder, value ->> 6 AS is_cut, value ->> 7 AS is_suspect,
            value ->> 8 AS is_truncated, json_extract(told.json, '$[0]."' || key || '"') AS fields,
            json_extract(alive.json, '$[0]."' || key || '"[1]') AS is_silent
        FROM json_each(placed.json, '$[0]')
    ),
    -- By itself, since SQLite keeps four JSON values at a time unpacked.
    measured AS MATERIALIZED (
        SELECT *, json_extract(ends.json, '$[0]."' || span_id || '"') AS stop,
            coalesce(json_extract(covered.json, '$[0]."' || span_id || '"'), 0) AS covered
        FROM line
    ),
    ordered AS (
        SELECT *, coalesce(min(start) FILTER (WHERE NOT is_suspect) OVER (), min(start) OVER ()) AS begin
        FROM measured
        ORDER BY path
    )
    SELECT json_group_array(json_array(
        path,
        depth,
        span_id,
        coalesce(under, fields ->> 0),
        fields ->> 9,
        fields ->> 10,
        fields ->> 11,
        CASE WHEN is_silent THEN 'abandoned' ELSE fields ->> 8 END,
        fields ->> 1,
        CASE WHEN NOT fields ->> 7 THEN fields ->> 2 END,
        start - begin,
        CASE
            WHEN fields ->> 7 THEN NULL
            WHEN fields ->> 2 IS NOT NULL AND fields ->> 1 IS NOT NULL THEN max(0, (fields ->> 2) - (fields ->> 1))
            WHEN fields ->> 6 IS NOT NULL THEN max(0, fields ->> 6)
        END,
        CASE WHEN is_placeholder THEN 0 ELSE stop - start - covered END,
        fields ->> 12,
        fields ->> 13,
        nullif(trim(
            CASE WHEN is_placeholder THEN 'placeholder ' ELSE '' END
            || CASE WHEN is_orphan THEN 'orphan ' ELSE '' END
            || CASE WHEN is_cut THEN 'cycle ' ELSE '' END
            || CASE WHEN fields ->> 7 THEN 'open ' ELSE '' END
            || CASE WHEN is_suspect THEN 'clock_suspect ' ELSE '' END
            || CASE WHEN is_truncated THEN 'truncated' ELSE '' END
        ), ''),
        fields ->> 14,
        fields ->> 15,
        fields ->> 16,
        fields ->> 17,
        fields ->> 18,
        fields ->> 19
    ))
    FROM ordered
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
    WHERE spans_expired_at IS NULL
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

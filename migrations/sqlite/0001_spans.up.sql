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

-- Traces that were deleted on request: only which and when, so that what was accepted before the request is not stored after
-- it, by a queue or a journal. Kept for retention.rollup_days: a journal that lay aside for longer may bring them back.
CREATE TABLE deletions (
    trace_id   BLOB NOT NULL,
    tenant     TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    PRIMARY KEY (trace_id, tenant)
) WITHOUT ROWID;
CREATE INDEX deletions_deleted_at ON deletions (deleted_at);

-- The partitions of spans go with it.
-- The service's transactions begin at traces: whoever holds it alone meets none of them half-way.
LOCK TABLE tracefall.traces IN ACCESS EXCLUSIVE MODE;
DROP FUNCTION tracefall.cleanup_old_traces(integer);
DROP VIEW tracefall.deployment_trace_span;
DROP VIEW tracefall.trace_spans_health;
DROP VIEW tracefall.trace_waterfall;
DROP VIEW tracefall.trace_spans;
DROP FUNCTION tracefall.spans_health();
DROP FUNCTION tracefall.waterfall_of(uuid, timestamptz, timestamptz, text);
DROP TABLE tracefall.checkpoints;
DROP TABLE tracefall.leases;
DROP TABLE tracefall.dead_letters;
DROP TABLE tracefall.pins;
DROP TABLE tracefall.traces;
DROP TABLE tracefall.resources;
DROP TABLE tracefall.open_spans;
DROP TABLE tracefall.spans_kept;
DROP TABLE tracefall.spans;

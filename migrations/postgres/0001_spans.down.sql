-- The partitions of spans go with it.
DROP FUNCTION tracefall.cleanup_old_traces(integer);
DROP VIEW tracefall.trace_spans;
DROP TABLE tracefall.checkpoints;
DROP TABLE tracefall.leases;
DROP TABLE tracefall.dead_letters;
DROP TABLE tracefall.pins;
DROP TABLE tracefall.traces;
DROP TABLE tracefall.resources;
DROP TABLE tracefall.open_spans;
DROP TABLE tracefall.spans_kept;
DROP TABLE tracefall.spans;

DROP TABLE tracefall.deletions;

DROP FUNCTION IF EXISTS tracefall.cleanup_old_traces(integer, integer);

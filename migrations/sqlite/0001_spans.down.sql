-- The tables of the days and the view spans, whose names are not known here, are dropped by the service before this runs.
DROP VIEW deployment_trace_span;
DROP VIEW trace_spans_health;
DROP VIEW trace_waterfall;
DROP VIEW trace_spans;
DROP VIEW IF EXISTS spans;
DROP TABLE checkpoints;
DROP TABLE leases;
DROP TABLE dead_letters;
DROP TABLE pins;
DROP TABLE traces;
DROP TABLE resources;
DROP TABLE open_spans;
DROP TABLE span_tables;
DROP TABLE spans_kept;
DROP TABLE spans_default;

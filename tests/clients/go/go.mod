module drivers

go 1.19

require tracefall v0.0.0

replace tracefall => ../../../docs/clients/go

module tracefall

go 1.19

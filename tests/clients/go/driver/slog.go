//go:build go1.21

package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"

	"tracefall"
)

func init() {
	logged = func(ctx context.Context) bool {
		var lines bytes.Buffer
		logger := slog.New(tracefall.LogHandler(slog.NewJSONHandler(&lines, nil))).With("a", 1)
		logger.InfoContext(ctx, "by the handler")
		slog.New(slog.NewJSONHandler(&lines, nil)).Info("by arguments", tracefall.LogArgs(ctx)...)
		return !tracefall.Enabled() || strings.Count(lines.String(), `"trace_id":"`) == 2
	}
}

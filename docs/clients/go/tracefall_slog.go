//go:build go1.21

package tracefall

import (
	"context"
	"log/slog"
)

// LogHandler gives every record logged with a context (slog.InfoContext …) the trace_id, span_id and request_id of it:
//
//	slog.SetDefault(slog.New(tracefall.LogHandler(slog.NewJSONHandler(os.Stderr, nil))))
func LogHandler(next slog.Handler) slog.Handler { return logHandler{next} }

type logHandler struct{ slog.Handler }

func (handler logHandler) Handle(ctx context.Context, record slog.Record) error {
	if arguments := LogArgs(ctx); len(arguments) > 0 {
		record = record.Clone()
		record.Add(arguments...)
	}
	return handler.Handler.Handle(ctx, record)
}

func (handler logHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logHandler{handler.Handler.WithAttrs(attributes)}
}

func (handler logHandler) WithGroup(name string) slog.Handler {
	return logHandler{handler.Handler.WithGroup(name)}
}

// Package tracefall is Tracefall's client for Go 1.19 and newer: one file to copy, nothing but the standard library.
//
//	ctx, span := tracefall.StartSpan(ctx, "runner", "execute_question", tracefall.Announce())
//	ctx = tracefall.SetExecutionContext(ctx, 123, "job-7")
//	answer, err := ask(ctx)
//	tracefall.CompleteSpanWithError(span, err) // completes it if err is nil
//
// It is off unless ENABLE_DB_TRACING=true: then there is no goroutine and no socket, spans are nil, and everything accepts
// nil spans. TRACEFALL_URL (http://127.0.0.1:4318) and TRACEFALL_KEY say where spans go, TRACEFALL_SERVICE names the
// program for Middleware.
//
// What it promises to its host: it neither panics nor makes it wait. A record is encoded, cut to 256 KiB, and put into a
// channel bounded by count and bytes, from which the oldest is dropped when it is full; one goroutine posts batches of up
// to 500 spans or 200 ms. While the server is away, one request every few seconds finds out whether it is back. The key is
// never logged. Call Close before the program ends: it waits as long as its context allows, at most a second by default.
package tracefall

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	mathrand "math/rand"
	"net"
	"net/http"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	batchSpans   = 500
	batchBytes   = 1 << 20
	maxRecord    = 256 << 10 // bytes of one record
	maxText      = 64 << 10  // bytes of one value, the server's own limit
	maxEvents    = 128
	timeout      = 2 * time.Second // to connect, and to wait for an answer; spent in the sender only
	slowestProbe = 5 * time.Second // between attempts while the server is away
)

// Config overrides what the environment says; the zero value of each means the default.
type Config struct {
	URL, Key, Service string
	MaxSpans          int           // held in memory, 10 000 by default
	MaxBytes          int64         // of encoded spans held in memory, 8 MiB by default
	Linger            time.Duration // how old a batch may grow, 200 ms by default
	Gzip              bool
	Logf              func(format string, arguments ...any) // told when the server goes and comes; log.Printf by default
}

var (
	enabled = strings.EqualFold(strings.TrimSpace(os.Getenv("ENABLE_DB_TRACING")), "true")
	sender  = newClient(Config{})
	service = os.Getenv("TRACEFALL_SERVICE")
)

// Configure is for the start of the program, before the first span.
func Configure(config Config) {
	sender = newClient(config)
	if config.Service != "" {
		service = config.Service
	}
}

// Enabled says whether ENABLE_DB_TRACING=true.
func Enabled() bool { return enabled }

// Spans

// Span is a piece of work. Its methods accept nil, which is what StartSpan gives while tracing is off.
type Span struct {
	traceID, spanID string
	begun           time.Time
	mutex           sync.Mutex
	record          map[string]any // plain values only: a caller may change what it gave us
	attributes      map[string]any
	events          []any
	announce, ended bool
}

// place is where in which trace a context is.
type place struct {
	traceID, spanID, requestID string
	run                        map[string]any // never changed once it is in a context
	span                       *Span
}

type placeKey struct{}

func placeOf(ctx context.Context) place {
	here, _ := ctx.Value(placeKey{}).(place)
	return here
}

// Option says something of a span at its start or its end.
type Option func(*Span)

// Field sets a member of a span as docs/api.md names it: "region", "model", "tokens", "retry_count", "question_id" …
func Field(name string, value any) Option {
	return func(span *Span) { span.record[name] = plain(value) }
}

// Attribute sets an attribute.
func Attribute(name string, value any) Option {
	return func(span *Span) { span.attributes[name] = plain(value) }
}

// Kind is "internal", "server", "client", "producer" or "consumer".
func Kind(kind string) Option { return Field("kind", kind) }

// Announce sends the span at its start too, so that it is seen running: for spans of many seconds.
func Announce() Option { return func(span *Span) { span.announce = true } }

// GenerateTraceID gives 32 hex digits, also while tracing is off.
func GenerateTraceID() string { return randomHex(16) }

// WithTraceID makes the next span of ctx the root of the trace `id` (32 or 16 hex digits, or a UUID; else a new trace).
func WithTraceID(ctx context.Context, id string) context.Context {
	if !enabled {
		return ctx
	}
	here := placeOf(ctx)
	return context.WithValue(ctx, placeKey{}, place{traceID: traceID(id), requestID: here.requestID, run: here.run})
}

// StartSpan starts a span below the one that ctx carries, or a new trace. Its context carries the new span.
func StartSpan(ctx context.Context, service, operation string, options ...Option) (context.Context, *Span) {
	if !enabled {
		return ctx, nil
	}
	here := placeOf(ctx)
	span := &Span{traceID: here.traceID, spanID: randomHex(8), begun: time.Now(), attributes: map[string]any{}}
	if span.traceID == "" {
		span.traceID = GenerateTraceID()
	}
	span.record = map[string]any{"service": service, "operation": operation, "started_at": stamp(span.begun)}
	for name, value := range here.run {
		span.record[name] = value
	}
	if here.requestID != "" {
		span.attributes["request_id"] = here.requestID
	}
	span.apply(options)
	span.record["trace_id"], span.record["span_id"] = span.traceID, span.spanID
	if here.spanID != "" {
		span.record["parent_span_id"] = here.spanID
	}
	if span.announce {
		span.offer("running")
	}
	next := place{span.traceID, span.spanID, here.requestID, here.run, span}
	return context.WithValue(ctx, placeKey{}, next), span
}

// SetExecutionContext names the run for the span that ctx carries and for all spans started below the context it gives.
// An execution id may be a number or a text; an empty job id is left out.
func SetExecutionContext(ctx context.Context, executionID any, jobID string, more ...Option) context.Context {
	if !enabled {
		return ctx
	}
	here := placeOf(ctx)
	named := &Span{record: map[string]any{}, attributes: map[string]any{}}
	for name, value := range here.run {
		named.record[name] = value
	}
	named.record["execution_id"] = plain(executionID)
	if jobID != "" {
		named.record["job_id"] = jobID
	}
	named.apply(more)
	here.run = named.record
	if here.span != nil {
		here.span.mutex.Lock()
		for name, value := range here.run {
			here.span.record[name] = value
		}
		here.span.mutex.Unlock()
	}
	return context.WithValue(ctx, placeKey{}, here)
}

// CompleteSpan ends a span; only the first end counts.
func CompleteSpan(span *Span, options ...Option) { span.end("completed", options) }

// CompleteSpanWithError ends a span as failed, as cancelled for context.Canceled, as completed for nil.
func CompleteSpanWithError(span *Span, err error, options ...Option) {
	if span == nil || err == nil {
		span.end("completed", options)
		return
	}
	status, error := told(err)
	span.end(status, append([]Option{Field("error", error)}, options...))
}

// Set is Field, Attribute … while the span runs.
func (span *Span) Set(options ...Option) {
	if span != nil {
		span.mutex.Lock()
		defer span.mutex.Unlock()
		span.apply(options)
	}
}

// Event notes something at this moment.
func (span *Span) Event(name string, attributes map[string]any) {
	if span == nil {
		return
	}
	span.mutex.Lock()
	defer span.mutex.Unlock()
	if len(span.events) < maxEvents {
		event := map[string]any{"name": name, "timestamp": stamp(time.Now()), "attributes": plain(attributes)}
		span.events = append(span.events, event)
	}
}

// TraceID is "" while tracing is off.
func (span *Span) TraceID() string {
	if span == nil {
		return ""
	}
	return span.traceID
}

// apply runs options, which are ours or a caller's.
func (span *Span) apply(options []Option) {
	defer func() { _ = recover() }()
	for _, option := range options {
		option(span)
	}
}

func (span *Span) end(status string, options []Option) {
	if span == nil {
		return
	}
	elapsed := time.Since(span.begun)
	span.mutex.Lock()
	defer span.mutex.Unlock()
	if span.ended {
		return
	}
	span.ended = true
	span.apply(options)
	span.record["completed_at"] = stamp(span.begun.Add(elapsed))
	span.offer(status)
}

// offer never blocks and never panics. The caller holds the mutex, or nobody else knows the span yet.
func (span *Span) offer(status string) {
	span.record["status"] = status
	span.record["attributes"], span.record["events"] = span.attributes, span.events
	line, err := json.Marshal(span.record)
	if err == nil && len(line) > maxRecord {
		// What is large is content; the span without it is worth more than none.
		for _, name := range []string{"inputs", "outputs", "events", "attributes"} {
			delete(span.record, name)
		}
		span.record["client.truncated"] = true
		line, err = json.Marshal(span.record)
	}
	if err != nil {
		sender.dropped.Add(1)
		return
	}
	sender.offer(line)
}

// Propagation

var (
	traceparent = regexp.MustCompile(`^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$`)
	hexID       = regexp.MustCompile(`^([0-9a-f]{16}|[0-9a-f]{32})$`)
	requestID   = regexp.MustCompile(`^[\x21-\x7e]{1,128}$`)
)

// Inject writes X-Trace-ID, X-Request-ID and traceparent of ctx into the headers of an outgoing request.
func Inject(ctx context.Context, headers http.Header) {
	here := placeOf(ctx)
	if !enabled || here.traceID == "" {
		return
	}
	headers.Set("X-Trace-ID", here.traceID)
	if here.spanID != "" {
		headers.Set("Traceparent", "00-"+here.traceID+"-"+here.spanID+"-01")
	}
	if here.requestID != "" {
		headers.Set("X-Request-ID", here.requestID)
	}
}

// Extract continues the trace of an incoming request: that of traceparent, else of X-Trace-ID, else a new one.
func Extract(ctx context.Context, headers http.Header) context.Context {
	if !enabled {
		return ctx
	}
	var here place
	if id := strings.TrimSpace(headers.Get("X-Request-ID")); requestID.MatchString(id) {
		here.requestID = id
	}
	parts := traceparent.FindStringSubmatch(strings.TrimSpace(headers.Get("Traceparent")))
	isParent := parts != nil && parts[1] != "ff" && !(parts[1] == "00" && parts[4] != "")
	if isParent && strings.Trim(parts[2], "0") != "" && strings.Trim(parts[3], "0") != "" {
		here.traceID, here.spanID = parts[2], parts[3]
	} else {
		here.traceID = traceID(headers.Get("X-Trace-ID"))
	}
	return context.WithValue(ctx, placeKey{}, here)
}

// Transport sends the trace of each request's context along with it. A nil base is http.DefaultTransport.
func Transport(base http.RoundTripper) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	if !enabled {
		return base
	}
	return transport{base}
}

type transport struct{ base http.RoundTripper }

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	if placeOf(request.Context()).traceID != "" {
		request = request.Clone(request.Context()) // a RoundTripper must not change what it was given
		Inject(request.Context(), request.Header)
	}
	return t.base.RoundTrip(request)
}

// Middleware makes a span of each request, a child of its caller's, and answers with X-Trace-ID and X-Request-ID.
func Middleware(next http.Handler) http.Handler {
	if !enabled {
		return next
	}
	return http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		ctx := Extract(request.Context(), request.Header)
		here := placeOf(ctx)
		if here.requestID == "" {
			here.requestID = randomHex(16)
			ctx = context.WithValue(ctx, placeKey{}, here)
		}
		ctx, span := StartSpan(ctx, service, request.Method+" "+request.URL.Path, Kind("server"),
			Attribute("http.request.method", request.Method), Attribute("url.path", request.URL.Path))
		writer.Header().Set("X-Trace-ID", span.traceID)
		writer.Header().Set("X-Request-ID", here.requestID)
		noting := &statusWriter{ResponseWriter: writer, status: http.StatusOK}
		returned := false
		// No recover: a panic goes on as it would without us.
		defer func() {
			status := Attribute("http.response.status_code", noting.status)
			switch {
			case !returned:
				span.end("failed", []Option{Field("error", map[string]any{"type": "panic", "message": "the handler panicked"})})
			case noting.status >= 500:
				CompleteSpanWithError(span, fmt.Errorf("answered %d", noting.status), status)
			default:
				CompleteSpan(span, status)
			}
		}()
		next.ServeHTTP(noting, request.WithContext(ctx))
		returned = true
	})
}

type statusWriter struct {
	http.ResponseWriter
	status int
	wrote  bool
}

func (w *statusWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.status, w.wrote = status, true
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(data []byte) (int, error) {
	w.wrote = true
	return w.ResponseWriter.Write(data)
}

// What the writer below may be able to do beyond writing.

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *statusWriter) Flush() {
	if flusher, can := w.ResponseWriter.(http.Flusher); can {
		w.wrote = true
		flusher.Flush()
	}
}

func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if hijacker, can := w.ResponseWriter.(http.Hijacker); can {
		return hijacker.Hijack()
	}
	return nil, nil, errors.New("this connection cannot be hijacked")
}

// LogArgs gives "trace_id", "span_id" and "request_id" of ctx as keys and values: slog.Info("asked", LogArgs(ctx)...).
func LogArgs(ctx context.Context) []any {
	here := placeOf(ctx)
	var arguments []any
	for _, pair := range [][2]string{{"trace_id", here.traceID}, {"span_id", here.spanID}, {"request_id", here.requestID}} {
		if pair[1] != "" {
			arguments = append(arguments, pair[0], pair[1])
		}
	}
	return arguments
}

// Values

func randomHex(length int) string {
	id := make([]byte, length)
	_, _ = rand.Read(id) // on the systems that Go supports it does not fail
	return hex.EncodeToString(id)
}

// traceID is the 32 digits of any spelling, or a new id.
func traceID(text string) string {
	id := strings.ToLower(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if !hexID.MatchString(id) || strings.Trim(id, "0") == "" {
		return GenerateTraceID()
	}
	return strings.Repeat("0", 32-len(id)) + id
}

func stamp(moment time.Time) string { return moment.UTC().Format(time.RFC3339Nano) }

// told is what an error says of its span. Wrappers of fmt are named by what they wrap.
func told(err error) (status string, said map[string]any) {
	status, said = "failed", map[string]any{"type": fmt.Sprintf("%T", err)}
	defer func() { _ = recover() }() // a text that cannot be made
	if errors.Is(err, context.Canceled) {
		return "cancelled", nil
	}
	said["message"] = cut(err.Error(), 4096)
	if errors.Is(err, context.DeadlineExceeded) {
		said["type"] = "context.DeadlineExceeded"
		return status, said
	}
	for inner := err; strings.HasPrefix(fmt.Sprintf("%T", inner), "*fmt.") && errors.Unwrap(inner) != nil; {
		inner = errors.Unwrap(inner)
		said["type"] = fmt.Sprintf("%T", inner)
	}
	return status, said
}

func cut(text string, most int) string {
	if len(text) > most {
		text = text[:most]
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// plain is a copy of a value as JSON knows it, bounded. Structs are named, not asked: their text could cost anything.
func plain(value any) (copied any) {
	defer func() {
		if recover() != nil {
			copied = fmt.Sprintf("<%T>", value)
		}
	}()
	left := maxRecord / 2
	return plainOf(reflect.ValueOf(value), &left, 0)
}

func plainOf(value reflect.Value, left *int, depth int) any {
	*left -= 16
	if !value.IsValid() || depth > 16 || *left < 0 {
		return nil
	}
	if value.CanInterface() {
		switch known := value.Interface().(type) {
		case time.Time:
			return stamp(known)
		case time.Duration:
			return known.String()
		case json.Number:
			return cut(string(known), 64)
		case error:
			return cut(known.Error(), 4096)
		case []byte:
			return fmt.Sprintf("<%d bytes>", len(known))
		}
	}
	switch value.Kind() {
	case reflect.String:
		text := cut(value.String(), maxText)
		*left -= len(text)
		return text
	case reflect.Bool:
		return value.Bool()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return value.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		if number := value.Uint(); number <= math.MaxInt64 {
			return number
		}
		return strconv.FormatUint(value.Uint(), 10)
	case reflect.Float32, reflect.Float64:
		if number := value.Float(); !math.IsNaN(number) && !math.IsInf(number, 0) {
			return number
		}
		return fmt.Sprint(value.Float())
	case reflect.Ptr, reflect.Interface:
		return plainOf(value.Elem(), left, depth+1)
	case reflect.Slice, reflect.Array:
		items := []any{}
		for index := 0; index < value.Len() && *left > 0; index++ {
			items = append(items, plainOf(value.Index(index), left, depth+1))
		}
		return items
	case reflect.Map:
		items := map[string]any{}
		for members := value.MapRange(); *left > 0 && members.Next(); {
			items[cut(fmt.Sprint(plainOf(members.Key(), left, depth+1)), 256)] = plainOf(members.Value(), left, depth+1)
		}
		return items
	}
	return "<" + value.Type().String() + ">"
}

// The sender: one goroutine, started by the first record

type client struct {
	config                            Config
	batchSpans                        int
	http                              *http.Client
	queue                             chan []byte
	flushes                           chan flush
	start                             sync.Once
	started, closed                   atomic.Bool
	bytes, held                       atomic.Int64 // held: spans in the batch that is being sent
	recorded, sent, dropped, rejected atomic.Int64
	requests, failedRequests          atomic.Int64
	failures                          int // of the goroutine, as is what follows
	closedUntil                       time.Time
	batch                             [][]byte
	batchSize                         int
	random                            *mathrand.Rand
	stop                              chan struct{}
}

type flush struct {
	ctx  context.Context
	done chan struct{}
}

func newClient(config Config) *client {
	if config.URL == "" {
		config.URL = os.Getenv("TRACEFALL_URL")
	}
	if config.URL == "" {
		config.URL = "http://127.0.0.1:4318"
	}
	if config.Key == "" {
		config.Key = os.Getenv("TRACEFALL_KEY")
	}
	if config.MaxSpans < 2 {
		config.MaxSpans = 10_000
	}
	if config.MaxBytes <= 0 {
		config.MaxBytes = 8 << 20
	}
	if config.Linger <= 0 {
		config.Linger = 200 * time.Millisecond
	}
	if config.Logf == nil {
		config.Logf = log.Printf
	}
	c := &client{config: config, batchSpans: batchSpans, flushes: make(chan flush, 16), stop: make(chan struct{})}
	c.random = mathrand.New(mathrand.NewSource(time.Now().UnixNano() ^ int64(os.Getpid())<<32))
	if c.batchSpans > config.MaxSpans/2 {
		c.batchSpans = config.MaxSpans / 2
	}
	if enabled {
		// What waits and what is being sent are together never more than MaxSpans.
		c.queue = make(chan []byte, config.MaxSpans-c.batchSpans)
	}
	return c
}

func (c *client) offer(line []byte) {
	c.recorded.Add(1)
	size := int64(len(line))
	if size > maxRecord || c.closed.Load() {
		c.dropped.Add(1)
		return
	}
	c.start.Do(func() {
		c.http = &http.Client{
			Transport: &http.Transport{
				DialContext:           (&net.Dialer{Timeout: timeout}).DialContext,
				TLSHandshakeTimeout:   timeout,
				ResponseHeaderTimeout: timeout,
				IdleConnTimeout:       30 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
		c.started.Store(true)
		go c.run()
	})
	c.bytes.Add(size)
	for c.bytes.Load() > c.config.MaxBytes && c.dropOldest() {
	}
	for {
		select {
		case c.queue <- line:
			return
		default:
			c.dropOldest()
		}
	}
}

func (c *client) dropOldest() bool {
	select {
	case line := <-c.queue:
		c.bytes.Add(-int64(len(line)))
		c.dropped.Add(1)
		return true
	default:
		return false
	}
}

func (c *client) run() {
	defer func() {
		if recover() != nil { // nothing is known to panic; if something does, the host goes on without its spans
			c.closed.Store(true)
		}
	}()
	for {
		asked, goOn := c.wait()
		if !goOn {
			return
		}
		for c.fill() && c.send(asked) && (asked != nil || len(c.queue) >= c.batchSpans) {
		}
		if asked != nil {
			close(asked.done)
		}
	}
}

// wait ends when a batch is full or old enough and the server may be tried, or a flush was asked for.
func (c *client) wait() (*flush, bool) {
	if len(c.batch) == 0 {
		select {
		case line := <-c.queue:
			c.add(line)
		case asked := <-c.flushes:
			return &asked, true
		case <-c.stop:
			return nil, false
		}
	}
	delay := c.config.Linger
	if until := time.Until(c.closedUntil); until > delay {
		delay = until
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	for {
		queue := c.queue
		if c.failures > 0 {
			queue = nil // the batch is sent again as it is; what comes meanwhile waits, bounded
		} else if c.isFull() {
			return nil, true
		}
		select {
		case line := <-queue:
			c.add(line)
		case asked := <-c.flushes:
			return &asked, true
		case <-timer.C:
			return nil, true
		case <-c.stop:
			return nil, false
		}
	}
}

func (c *client) add(line []byte) {
	c.batch = append(c.batch, line)
	c.batchSize += len(line)
	c.held.Store(int64(len(c.batch)))
}

func (c *client) isFull() bool { return len(c.batch) >= c.batchSpans || c.batchSize >= batchBytes }

func (c *client) fill() bool {
	for (c.failures == 0 || len(c.batch) == 0) && !c.isFull() {
		select {
		case line := <-c.queue:
			c.add(line)
		default:
			return len(c.batch) > 0
		}
	}
	return true
}

func (c *client) letGo(count int) {
	for _, line := range c.batch[:count] {
		c.bytes.Add(-int64(len(line)))
		c.batchSize -= len(line)
	}
	c.batch = append([][]byte(nil), c.batch[count:]...)
	c.held.Store(int64(len(c.batch)))
}

// send posts the batch; false if the server is away and the batch waits.
func (c *client) send(asked *flush) bool {
	count := len(c.batch)
	for len(c.batch) > 0 {
		c.requests.Add(1)
		status, retryAfter, rejected, err := c.post(asked, c.batch[:count])
		switch {
		case err != nil && asked != nil && asked.ctx.Err() != nil:
			c.failedRequests.Add(1) // whoever asked had too little patience; it says nothing of the server
			return false
		case err != nil:
			return c.away("no answer", -1)
		case status >= 200 && status < 300:
			c.sent.Add(int64(count - rejected))
			c.rejected.Add(int64(rejected))
			c.letGo(count)
		case status == http.StatusRequestEntityTooLarge && count > 1:
			count /= 2
			continue
		case status == 400 || status == 413 || status == 415 || status == 422:
			c.rejected.Add(int64(count))
			c.letGo(count)
		default:
			return c.away("status "+strconv.Itoa(status), retryAfter)
		}
		if c.failures > 0 {
			c.config.Logf("tracefall: the server takes spans again")
		}
		c.failures = 0
		if count > len(c.batch) {
			count = len(c.batch)
		}
	}
	return true
}

func (c *client) away(reason string, retryAfter time.Duration) bool {
	c.failedRequests.Add(1)
	if c.failures == 0 {
		c.config.Logf("tracefall: the server takes no spans (%s): they are kept, the oldest dropped", reason)
	}
	if c.failures < 10 {
		c.failures++
	}
	delay := 250 * time.Millisecond << c.failures
	if delay > slowestProbe {
		delay = slowestProbe
	}
	delay = delay/2 + time.Duration(c.random.Int63n(int64(delay/2)))
	if retryAfter > time.Minute {
		retryAfter = time.Minute
	}
	if retryAfter > 0 && retryAfter > delay {
		delay = retryAfter + time.Duration(c.random.Int63n(int64(retryAfter)/4+1))
	}
	c.closedUntil = time.Now().Add(delay)
	return false
}

func (c *client) post(asked *flush, batch [][]byte) (status int, retryAfter time.Duration, rejected int, err error) {
	ctx := context.Background()
	if asked != nil {
		ctx = asked.ctx
	}
	ctx, cancel := context.WithTimeout(ctx, 3*timeout)
	defer cancel()
	body := append(append([]byte{'['}, bytes.Join(batch, []byte{','})...), ']')
	zipped := c.config.Gzip && len(body) > 4096
	if zipped {
		var buffer bytes.Buffer
		writer, _ := gzip.NewWriterLevel(&buffer, gzip.BestSpeed)
		_, _ = writer.Write(body)
		_ = writer.Close()
		body = buffer.Bytes()
	}
	url := strings.TrimRight(c.config.URL, "/") + "/v1/spans"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, 0, 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "tracefall-go")
	// Sending again is safe: net/http may do so by itself when a kept connection turns out to be closed.
	request.Header["Idempotency-Key"] = nil
	if zipped {
		request.Header.Set("Content-Encoding", "gzip")
	}
	if c.config.Key != "" {
		request.Header.Set("Authorization", "Bearer "+c.config.Key)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, 0, 0, err
	}
	defer response.Body.Close()
	var answer struct {
		Rejected []json.RawMessage `json:"rejected"`
	}
	text, _ := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	_ = json.Unmarshal(text, &answer)
	return response.StatusCode, seconds(response.Header.Get("Retry-After")), len(answer.Rejected), nil
}

// seconds reads Retry-After, a count or a date; -1 without one.
func seconds(retryAfter string) time.Duration {
	if count, err := strconv.ParseFloat(retryAfter, 64); err == nil && count >= 0 && count < 1e6 {
		return time.Duration(count * float64(time.Second))
	}
	if date, err := http.ParseTime(retryAfter); err == nil {
		return time.Until(date)
	}
	return -1
}

// Flush waits until all that was recorded before is sent, at most as long as ctx allows, and a second if it has no deadline.
func Flush(ctx context.Context) error {
	c := sender
	if !c.started.Load() || c.closed.Load() {
		return nil
	}
	if _, has := ctx.Deadline(); !has {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		ctx = limited
	}
	asked := flush{ctx, make(chan struct{})}
	select {
	case c.flushes <- asked:
	case <-ctx.Done():
	}
	select {
	case <-asked.done:
	case <-ctx.Done():
	}
	if unsent := len(c.queue) + int(c.held.Load()); unsent > 0 {
		return fmt.Errorf("tracefall: %d spans are not sent", unsent)
	}
	return nil
}

// Close flushes and ends the sender; what is recorded later is dropped. For the end of the program: defer it in main.
func Close(ctx context.Context) error {
	err := Flush(ctx)
	if sender.started.Load() && !sender.closed.Swap(true) {
		close(sender.stop)
	}
	return err
}

// Stats counts spans and requests since the start, and what is held in memory now.
type Stats struct {
	Recorded       int64 `json:"recorded"`
	Sent           int64 `json:"sent"`
	Dropped        int64 `json:"dropped"`
	Rejected       int64 `json:"rejected"`
	Queued         int64 `json:"queued"`
	QueuedBytes    int64 `json:"queued_bytes"`
	Requests       int64 `json:"requests"`
	FailedRequests int64 `json:"failed_requests"`
}

// CurrentStats is cheap.
func CurrentStats() Stats {
	c := sender
	return Stats{
		Recorded: c.recorded.Load(), Sent: c.sent.Load(), Dropped: c.dropped.Load(), Rejected: c.rejected.Load(),
		Queued: int64(len(c.queue)) + c.held.Load(), QueuedBytes: c.bytes.Load(),
		Requests: c.requests.Load(), FailedRequests: c.failedRequests.Load(),
	}
}

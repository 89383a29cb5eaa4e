// Measures what a traced call costs its caller, and that nothing else changes. Prints one line of JSON for
// tests/it/recipes/mod.rs.
//
//	driver CALLS MAX_SPANS
//
// With DRAIN set it reports when everything is sent, after ten seconds at most.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"tracefall"
)

// logged checks what needs a newer Go than 1.19.
var logged = func(context.Context) bool { return true }

type refused struct{ number int }

func (e refused) Error() string { return "refused " + strconv.Itoa(e.number) }

func work(number int) (string, error) {
	if number%10 == 9 {
		return "", refused{number}
	}
	return strconv.Itoa(number), nil
}

func traced(ctx context.Context, number int) (string, error) {
	_, span := tracefall.StartSpan(ctx, "driver", "call", tracefall.Field("region", "us-east"),
		tracefall.Attribute("text", strings.Repeat("x", 200)))
	result, err := work(number)
	tracefall.CompleteSpanWithError(span, err)
	return result, err
}

// once gives the time that a call took and whether it did what it does untraced.
func once(ctx context.Context, number int) (time.Duration, bool) {
	begun := time.Now()
	result, err := traced(ctx, number)
	took := time.Since(begun)
	expected, expectedErr := work(number)
	return took, result == expected && err == expectedErr
}

// handled sends a request through the middleware and says whether it is answered as without: also a panic.
func handled(ctx context.Context) (same bool) {
	var told string
	handler := tracefall.Middleware(http.HandlerFunc(func(writer http.ResponseWriter, request *http.Request) {
		told = fmt.Sprint(tracefall.LogArgs(request.Context())...)
		if request.URL.Path == "/panic" {
			panic(http.ErrAbortHandler)
		}
		writer.(http.Flusher).Flush()
		fmt.Fprint(writer, "answer")
	}))
	request := httptest.NewRequest("GET", "/handled", nil).WithContext(ctx)
	tracefall.Inject(ctx, request.Header)
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, request)
	same = answer.Code == 200 && answer.Body.String() == "answer"
	if tracefall.Enabled() {
		same = same && strings.Contains(told, answer.Header().Get("X-Trace-ID")) && answer.Header().Get("X-Request-ID") != ""
	}
	defer func() {
		if recover() != http.ErrAbortHandler {
			panic("the middleware changed a panic")
		}
	}()
	request = httptest.NewRequest("GET", "/panic", nil)
	request.Header = http.Header{}
	tracefall.Inject(ctx, request.Header)
	func() {
		defer func() {
			if caught := recover(); caught != nil {
				panic(caught)
			}
		}()
		handler.ServeHTTP(httptest.NewRecorder(), request)
	}()
	return same
}

func main() {
	calls, _ := strconv.Atoi(os.Args[1])
	maxSpans, _ := strconv.Atoi(os.Args[2])
	if maxSpans > 0 {
		tracefall.Configure(tracefall.Config{MaxSpans: maxSpans, Service: "driver", Gzip: true})
	}
	before := runtime.NumGoroutine()
	ctx, root := tracefall.StartSpan(context.Background(), "driver", "driver", tracefall.Announce())
	ctx = tracefall.SetExecutionContext(ctx, os.Getpid(), "job-7")
	// What a caller may give us, at its worst: none of it may harm.
	var nothing *refused
	root.Set(tracefall.Attribute("odd", map[any]any{1: make(chan int), "nan": []float64{0}, "self": struct{ a int }{1}, "nil": nothing}),
		tracefall.Attribute("long", strings.Repeat("é", 100_000)), tracefall.Field("flags", nil))
	times, same, most := make([]time.Duration, 0, calls), true, int64(0)
	for number := 0; number < calls; number++ {
		took, expected := once(ctx, number)
		times = append(times, took)
		same = same && expected
		if queued := tracefall.CurrentStats().Queued; queued > most {
			most = queued
		}
	}
	var group sync.WaitGroup
	for number := 0; number < 8; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			once(ctx, number)
		}(number)
	}
	group.Wait()
	same = handled(ctx) && logged(ctx) && same
	tracefall.CompleteSpan(root)
	deadline := time.Now().Add(10 * time.Second)
	for os.Getenv("DRAIN") != "" && tracefall.CurrentStats().Queued > 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	stats := tracefall.CurrentStats()
	sort.Slice(times, func(a, b int) bool { return times[a] < times[b] })
	report := map[string]any{
		"trace_id": root.TraceID(), "calls": calls, "spans": calls + 11, "same": same, "most_queued": most,
		"p50_us": micros(times[len(times)/2]), "p99_us": micros(times[len(times)*99/100]), "max_us": micros(times[len(times)-1]),
		"threads": runtime.NumGoroutine() - before,
	}
	counts, _ := json.Marshal(stats)
	_ = json.Unmarshal(counts, &report)
	line, _ := json.Marshal(report)
	fmt.Println(string(line))
	_ = tracefall.Close(context.Background())
}

func micros(duration time.Duration) float64 { return float64(duration.Nanoseconds()) / 1000 }

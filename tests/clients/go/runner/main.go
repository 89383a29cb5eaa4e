// The runner of the test of the whole chain: an execution that asks the router, which ROUTER_URL names.
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"tracefall"
)

func main() {
	defer func() { _ = tracefall.Close(context.Background()) }()
	ctx, span := tracefall.StartSpan(context.Background(), "runner", "execute_question", tracefall.Announce())
	ctx = tracefall.SetExecutionContext(ctx, 123, "job-7", tracefall.Field("question_id", "q1"))
	answer, err := ask(ctx, "hello")
	tracefall.CompleteSpanWithError(span, err)
	fmt.Println(span.TraceID(), answer, err)
}

func ask(ctx context.Context, question string) (answer string, err error) {
	ctx, span := tracefall.StartSpan(ctx, "runner", "hybrid_router_call", tracefall.Kind("client"))
	defer func() { tracefall.CompleteSpanWithError(span, err) }()
	request, err := http.NewRequestWithContext(ctx, "POST", os.Getenv("ROUTER_URL"), strings.NewReader(question))
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: tracefall.Transport(nil)}
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

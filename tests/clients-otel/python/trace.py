"""One trace by OpenTelemetry's SDK for Python, set up by its own environment variables alone.

    trace.py http|grpc|zipkin

Prints what the reader cannot know: the ids, and the nanosecond at which the trace begins.
"""

import json
import sys
import time

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState


def exporter(name):
    if name == "http":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as Exporter
    elif name == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as Exporter
    else:
        from opentelemetry.exporter.zipkin.json import ZipkinExporter as Exporter
    return Exporter()


ATTRIBUTES = {
    "text": 'a "quoted" text\u0007 é 🦀',
    "empty": "",
    "yes": True,
    "no": False,
    "whole": 2**63 - 1,
    "negative": -(2**63),
    "part": 1.0,
    "small": 5e-324,
    "texts": ["a", "b"],
    "wholes": [1, 2],
    "parts": [0.5, 2.0],
    "truths": [True, False],
    "nothing_in_it": [],
}
# OpenTelemetry's newer types of attributes, which Zipkin's format has no place for.
NEWER = {
    "bytes": b"\x00\xff",
    "map": {"inner": {"list": [1, "two", None]}},
    "mixed": ["a", 1, True],
    "none": None,
    "not_a_number": float("nan"),
    "infinite": float("-inf"),
}


def main():
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter(sys.argv[1])))
    tracer = provider.get_tracer("the-library", "1.2.3")
    base = time.time_ns() // 1_000_000 * 1_000_000 - 1_000_000_000
    state = TraceState([("vendor", "x")])
    linked = SpanContext(0xA, 0xB, is_remote=True, trace_flags=TraceFlags(1), trace_state=state)
    attributes = ATTRIBUTES if sys.argv[1] == "zipkin" else ATTRIBUTES | NEWER
    parent = tracer.start_span(
        "parent",
        kind=SpanKind.SERVER,
        attributes=attributes | {"http.request.method": "GET", "session.id": "s-1", "user.id": "u-1"},
        links=[Link(linked, {"why": "it", "count": 2})],
        start_time=base + 1,
    )
    with trace.use_span(parent, end_on_exit=False):
        child = tracer.start_span("child", kind=SpanKind.CLIENT, start_time=base + 2_000)
        child.end(base + 502_000)
    parent.add_event("cache miss", {"key": "k", "tries": 3, "sizes": [1, 2]}, timestamp=base + 600_000)
    try:
        raise ValueError("no value")
    except ValueError as error:
        parent.record_exception(error, timestamp=base + 700_000)
        parent.set_status(Status(StatusCode.ERROR, "it failed"))
    parent.end(base + 1_000_003)
    provider.shutdown()
    context = parent.get_span_context()
    print(
        json.dumps(
            {
                "trace_id": f"{context.trace_id:032x}",
                "parent": f"{context.span_id:016x}",
                "child": f"{child.get_span_context().span_id:016x}",
                "base": base,
            }
        )
    )


main()

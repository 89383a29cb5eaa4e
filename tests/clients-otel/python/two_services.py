"""Two services report one trace by py_zipkin, which knows nothing of OpenTelemetry: a caller, and the one it calls, whose
span has the caller's id (Zipkin's shared span).

ZIPKIN_URL says where the spans go. Prints the ids.
"""

import json
import os
import urllib.request

from py_zipkin import Encoding, Kind
from py_zipkin.request_helpers import create_http_headers, extract_zipkin_attrs_from_headers
from py_zipkin.transport import BaseTransportHandler
from py_zipkin.zipkin import zipkin_span


class Http(BaseTransportHandler):
    def get_max_payload_bytes(self):
        return None

    def send(self, payload):
        body = payload.encode() if isinstance(payload, str) else payload
        request = urllib.request.Request(os.environ["ZIPKIN_URL"], body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202, answer.status


def called(headers):
    attributes = extract_zipkin_attrs_from_headers(headers)
    with zipkin_span("api", "get /item", zipkin_attrs=attributes, kind=Kind.SERVER, **COMMON):
        pass


COMMON = {"transport_handler": Http(), "encoding": Encoding.V2_JSON, "sample_rate": 100.0, "use_128bit_trace_id": True}

with zipkin_span("web", "page", kind=Kind.SERVER, port=8080, **COMMON) as page:
    ids = page.zipkin_attrs
    with zipkin_span("web", "fetch", kind=Kind.CLIENT, binary_annotations={"http.method": "GET"}) as fetch:
        fetch.add_annotation("cache miss", timestamp=1767607200.5)
        fetch.add_sa_binary_annotation(port=80, service_name="api", host="10.0.0.7")
        headers = create_http_headers()
        called(headers)
print(json.dumps({"trace_id": ids.trace_id, "parent": ids.span_id, "child": headers["X-B3-SpanId"]}))

"""The router of the test of the whole chain: ASGI with the middleware, asking the Modal endpoint that MODAL_URL names."""

import asyncio
import json
import logging
import os
import sys
import urllib.request

here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(here, "../../../docs/clients/python")]

import asgi  # noqa: E402
import tracefall  # noqa: E402

handler = logging.StreamHandler()
handler.addFilter(tracefall.LogContext())
handler.setFormatter(logging.Formatter("%(trace_id)s %(span_id)s %(request_id)s %(message)s"))
logging.getLogger().addHandler(handler)


def ask_modal(question):
    with tracefall.span("router.modal_call", kind="client", region="us-east"):
        request = urllib.request.Request(os.environ["MODAL_URL"], question, tracefall.headers())
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read()


async def app(scope, receive, send):
    question = (await receive())["body"]
    tracefall.current().record["operation"] = "router.inference_request"
    answer = await asyncio.to_thread(ask_modal, question)
    logging.warning("asked")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps({"router": json.loads(answer)}).encode()})


asgi.serve(tracefall.Middleware(app, service="router"), lambda port: print(port, flush=True))

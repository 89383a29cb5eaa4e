"""Tracing for a Modal function: copy this file and tracefall.py beside the function, and add both to the image:

    image = modal.Image.debian_slim().add_local_python_source("tracefall", "modal_function")
    secret = modal.Secret.from_name("tracefall")    # ENABLE_DB_TRACING=true, TRACEFALL_URL, TRACEFALL_KEY (scope ingest)

    @app.function(image=image, gpu="A10G", secrets=[secret])
    @modal_function.inference(model="llama-3.2-1b", gpu="A10G")
    def generate(prompt, trace=None):
        answer = model.generate(prompt)
        modal_function.tokens(input=812, output=97)
        return answer

    generate.remote(prompt, trace=tracefall.headers())    # the caller, inside its own span

The function's argument `trace` is taken off and tells whose span this is; a web endpoint passes its request's headers as
`trace`. The span carries the region, the GPU, whether the container was cold, and how it failed. Sending is fire and forget:
a background thread posts while the container lives, and at its exit waits once, for at most 100 ms. Off unless
ENABLE_DB_TRACING=true.
"""

import os
import time

import tracefall

_imported = time.time_ns()
_cold = True

tracefall.configure(
    service=os.environ.get("TRACEFALL_SERVICE", "modal"),
    linger_seconds=0.05,  # a container may be gone soon: little is left for its exit
    exit_seconds=0.1,
    max_spans=2_000,
    max_bytes=2 << 20,
)


def inference(operation="modal.inference", model=None, gpu=None, region=None):
    """Decorates what Modal runs, a function, coroutine function or generator: each call is a span."""

    def begin(arguments):
        trace = arguments.pop("trace", None)  # callers may pass it also while tracing is off
        return _span(operation, trace, model, gpu, region) if tracefall.enabled else tracefall.OFF

    return lambda function: tracefall.wrapped(function, begin)


def tokens(**counts):
    """What the model used: input, output, cache_read, cache_write, reasoning, total."""
    tracefall.current().set(tokens=counts)


def _span(operation, trace, model, gpu, region):
    global _cold
    attributes = {
        "cold_start": _cold,
        "gpu": gpu,
        "modal.task_id": os.environ.get("MODAL_TASK_ID"),
        "cloud.provider": os.environ.get("MODAL_CLOUD_PROVIDER"),
    }
    if _cold:
        # From the import of this module, the container's first sign of Python, to its first call: loading the model.
        attributes["cold_start_ms"] = (time.time_ns() - _imported) // 1_000_000
        _cold = False
    return tracefall.span(
        operation,
        parent=_parent(trace),
        kind="server",
        model=model,
        region=region or os.environ.get("MODAL_REGION"),
        attributes={name: value for name, value in attributes.items() if value is not None},
    )


def _parent(trace):
    try:
        return tracefall.continued(trace) if trace else None
    except Exception:  # whatever a caller passed: a trace of its own
        return None

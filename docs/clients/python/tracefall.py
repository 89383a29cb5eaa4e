"""Tracefall client for Python 3.9 and newer: one file to copy, nothing but the standard library.

    app.add_middleware(tracefall.Middleware, service="router")       # FastAPI, Starlette, or Middleware(app) for any ASGI
    with tracefall.span("router.modal_call", kind="client", region="us-east") as span:
        answer = httpx.post(url, headers=tracefall.headers(), json=question)

It is off unless ENABLE_DB_TRACING=true: then there is no thread, no socket, and a span is one shared object that does nothing.
TRACEFALL_URL (http://127.0.0.1:4318) and TRACEFALL_KEY say where spans go; TRACEFALL_SERVICE names this program.

What it promises to its host: it raises nothing into it and never makes it wait. A record is encoded (cut to MAX_RECORD) and
put into a queue bounded by count and bytes, the oldest going first; a daemon thread posts it. While the server is away, one
request every few seconds finds out whether it is back. The key is never logged. At exit it waits once, at most
`exit_seconds`. After a fork the child starts with an empty queue and a thread of its own; threads and asyncio are both fine.
"""

import atexit
import contextvars
import datetime
import decimal
import email.utils
import encodings.idna  # noqa: F401  the first connection imports it, and a child that is forked meanwhile never could
import enum
import functools
import gzip as gzip_module
import http.client
import inspect
import json
import logging
import math
import numbers
import os
import pathlib
import queue
import random
import re
import socket
import sys
import threading
import time
import traceback
import urllib.parse
import uuid
from collections import deque

log = logging.getLogger("tracefall")

enabled = os.environ.get("ENABLE_DB_TRACING", "").strip().lower() == "true"

BATCH = 500  # records in a request
BATCH_BYTES = 1 << 20
MAX_RECORD = 256 << 10  # bytes of one record; longer texts in it are cut
MAX_TEXT = 64 << 10  # characters of one value, the server's own limit
TIMEOUT = 2.0  # seconds to connect, and to wait for an answer; spent in the sender's thread only
SLOWEST_PROBE = 5.0  # seconds between attempts while the server is away


# ── Spans ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Context:
    """Where in which trace we are; immutable, inherited by everything that is started in it."""

    __slots__ = ("trace_id", "span_id", "request_id", "run")

    def __init__(self, trace_id, span_id=None, request_id=None, run=None):
        self.trace_id, self.span_id, self.request_id, self.run = trace_id, span_id, request_id, run or {}


_current = contextvars.ContextVar("tracefall", default=None)  # Context
_span = contextvars.ContextVar("tracefall_span", default=None)  # the innermost Span entered


def generate_trace_id():
    """32 hex digits."""
    return os.urandom(16).hex()


class Span:
    """A piece of work. As a context manager it is the parent of whatever is started inside; an exception fails it."""

    __slots__ = ("context", "record", "attributes", "events", "_begun", "_outer", "_outer_span", "_ended")

    def __init__(self, operation, fields, parent=None):
        parent = parent or _current.get() or Context(generate_trace_id())
        self.context = Context(parent.trace_id, os.urandom(8).hex(), parent.request_id, parent.run)
        self.attributes = dict(fields.pop("attributes", None) or {})
        if parent.request_id:
            self.attributes.setdefault("request_id", parent.request_id)
        self.events = []
        announce = fields.pop("announce", False)
        self.record = {"service": _service, "operation": operation, **parent.run, **fields}
        self.record.update(trace_id=parent.trace_id, span_id=self.context.span_id, started_at_unix_nano=time.time_ns())
        if parent.span_id:
            self.record["parent_span_id"] = parent.span_id
        self._begun = time.perf_counter_ns()
        self._ended = False
        if announce:  # shown as running from now on; its completion is merged with this
            _offer(dict(self.record, status="running", attributes=self.attributes))

    @property
    def trace_id(self):
        return self.context.trace_id

    @property
    def span_id(self):
        return self.context.span_id

    def set(self, **fields):
        """Members of a span as docs/api.md names them: model, region, tokens, cost_usd, outputs, retry_count …"""
        self.record.update(fields)
        return self

    def set_attribute(self, key, value):
        self.attributes[key] = value
        return self

    def event(self, name, **attributes):
        if len(self.events) < 128:
            self.events.append({"name": name, "time_unix_nano": time.time_ns(), "attributes": attributes})
        return self

    def complete(self, status="completed", **fields):
        """Ends it; only the first end counts."""
        if not self._ended:
            self._ended = True
            self.record.update(fields, status=status)
            self.record["completed_at_unix_nano"] = (
                self.record["started_at_unix_nano"] + time.perf_counter_ns() - self._begun
            )
            _offer(dict(self.record, attributes=self.attributes, events=self.events))

    def fail(self, error, **fields):
        """Ends it as failed; `error` is an exception or a text."""
        try:
            self.complete("failed", error=_told(error), **fields)
        except Exception:  # an exception whose text cannot be made
            self.complete("failed", error={"type": type(error).__name__}, **fields)

    def __enter__(self):
        self._outer, self._outer_span = _current.get(), _span.get()
        _current.set(self.context)
        _span.set(self)
        return self

    def __exit__(self, kind, error, _):
        # Set rather than reset: an exit in another context than the entry (a generator's, a task's) must not raise.
        _current.set(self._outer)
        _span.set(self._outer_span)
        if error is None or isinstance(error, GeneratorExit) or isinstance(error, SystemExit) and not error.code:
            self.complete()
        elif isinstance(error, KeyboardInterrupt) or type(error).__name__ == "CancelledError":
            self.complete("cancelled")
        else:
            self.fail(error)
        return False

    async def __aenter__(self):
        return self.__enter__()

    async def __aexit__(self, *error):
        return self.__exit__(*error)


class _Off:
    """What every span is while tracing is off."""

    trace_id = span_id = ""
    context = None

    def set(self, **_):
        return self

    def set_attribute(self, *_):
        return self

    def event(self, *_, **__):
        return self

    def complete(self, *_, **__):
        pass

    def fail(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        return False


OFF = _Off()


def span(operation, parent=None, **fields):
    """A span to use with `with` or `async with`, or to end by hand with complete() or fail().

    `fields` are members of a span (docs/api.md) and `attributes={…}`. With `announce=True` it is sent at its start too and
    is seen running: for spans of many seconds. `parent` is a Context, by default that of the enclosing span.
    """
    if not enabled:
        return OFF
    try:
        return Span(operation, fields, parent)
    except Exception:
        return OFF


def traced(operation=None, **fields):
    """Decorates a function, coroutine function or generator: each call is a span."""

    def decorate(function):
        name = operation or function.__qualname__
        return wrapped(function, lambda arguments: span(name, **fields)) if enabled else function

    return decorate


def wrapped(function, begin):
    """`function`, still of its kind, each call of it inside the span that `begin` makes of its keyword arguments."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        with begin(kwargs):
            return function(*args, **kwargs)

    @functools.wraps(function)
    async def await_it(*args, **kwargs):
        with begin(kwargs):
            return await function(*args, **kwargs)

    @functools.wraps(function)
    def generate(*args, **kwargs):
        with begin(kwargs):
            return (yield from function(*args, **kwargs))

    @functools.wraps(function)
    async def generate_async(*args, **kwargs):
        with begin(kwargs):
            async for item in function(*args, **kwargs):
                yield item

    if inspect.iscoroutinefunction(function):
        return await_it
    if inspect.isgeneratorfunction(function):
        return generate
    return generate_async if inspect.isasyncgenfunction(function) else call


def current():
    """The innermost span entered here, or one that does nothing."""
    return _span.get() or OFF


def context():
    """Where we are, for `parent=`; None outside of a trace."""
    return _current.get()


def set_execution(execution_id=None, job_id=None, **more):
    """Names the run (execution_id, job_id, question_id, workflow_id, session_id, user_id) for this span and those below."""
    if not enabled:
        return
    run = dict({"execution_id": execution_id, "job_id": job_id}, **more)
    run = {key: value for key, value in run.items() if value is not None}
    here = _current.get() or Context(generate_trace_id())
    _current.set(Context(here.trace_id, here.span_id, here.request_id, {**here.run, **run}))
    current().set(**run)


def carry(function):
    """`function` for another thread (Thread, ThreadPoolExecutor), which then continues this trace there."""
    if not enabled:
        return function
    here, innermost = _current.get(), _span.get()

    @functools.wraps(function)
    def call(*args, **kwargs):
        outer, outer_span = _current.set(here), _span.set(innermost)
        try:
            return function(*args, **kwargs)
        finally:
            _span.reset(outer_span)
            _current.reset(outer)

    return call


# ── Propagation ──────────────────────────────────────────────────────────────────────────────────────────────────────

_TRACEPARENT = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
_HEX = re.compile(r"[0-9a-f]{16}(?:[0-9a-f]{16})?")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


def headers():
    """What an outgoing request, or the arguments of a remote call, must carry so that the callee continues this trace."""
    here = _current.get()
    if here is None:
        return {}
    carried = {"X-Trace-ID": here.trace_id}
    if here.span_id:
        carried["traceparent"] = f"00-{here.trace_id}-{here.span_id}-01"
    if here.request_id:
        carried["X-Request-ID"] = here.request_id
    return carried


def continued(carried):
    """The Context that headers (a mapping, names in any case) carry: `traceparent`, else `X-Trace-ID`, else a new trace."""
    get = {str(name).lower(): str(value).strip() for name, value in dict(carried or {}).items()}.get
    request_id = get("x-request-id", "")
    request_id = request_id if _REQUEST_ID.fullmatch(request_id) else None
    parent = _TRACEPARENT.fullmatch(get("traceparent", ""))
    if parent and not (parent[1] == "00" and parent[4]) and int(parent[2], 16) and int(parent[3], 16):
        return Context(parent[2], parent[3], request_id)
    trace_id = get("x-trace-id", "").replace("-", "").lower()
    if _HEX.fullmatch(trace_id) and int(trace_id, 16):
        return Context(trace_id.zfill(32), None, request_id)
    return Context(generate_trace_id(), None, request_id)


class Middleware:
    """ASGI: a span for each HTTP request, continuing its caller's trace; X-Trace-ID and X-Request-ID on the answer."""

    def __init__(self, app, service=None, ignore=("/healthz", "/readyz", "/health", "/metrics")):
        self.app, self.ignore = app, frozenset(ignore)
        if service:
            configure(service=service)

    async def __call__(self, scope, receive, send):
        if not enabled or scope["type"] != "http" or scope.get("path") in self.ignore:
            return await self.app(scope, receive, send)
        path = scope.get("path", "")
        try:
            pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope.get("headers") or ())
            origin = continued({name: value for name, value in pairs})
            origin.request_id = origin.request_id or str(uuid.uuid4())
            attributes = {"http.request.method": scope.get("method"), "url.path": path}
            work = Span(f"{scope.get('method')} {path}", {"kind": "server", "attributes": attributes}, origin)
        except Exception:
            return await self.app(scope, receive, send)

        async def answer(message):
            if message["type"] == "http.response.start":
                try:
                    message = _noted(message, work)
                except Exception:
                    log.debug("an answer without our headers")
            await send(message)

        with work:
            operation = work.record["operation"]
            try:
                return await self.app(scope, receive, answer)
            finally:
                route = getattr(scope.get("route"), "path", None)  # Starlette's template: /items/{id}
                if isinstance(route, str) and work.record["operation"] == operation:
                    work.record["operation"] = f"{scope.get('method')} {route}"


def _noted(message, work):
    """The start of an answer with our headers; its status is the span's."""
    status = message.get("status", 0)
    work.attributes["http.response.status_code"] = status
    if status >= 500:
        work.record["error"] = {"type": str(status), "message": f"answered {status}"}
    given = list(message.get("headers") or ())
    names = {bytes(name).lower() for name, _ in given}
    for name, value in (("x-trace-id", work.trace_id), ("x-request-id", work.context.request_id)):
        if name.encode() not in names:
            given.append((name.encode(), value.encode("latin-1")))
    return dict(message, headers=given)


class LogContext(logging.Filter):
    """Gives every log record `trace_id`, `span_id` and `request_id`, "-" outside of a trace: handler.addFilter(LogContext())."""

    def filter(self, record):
        here = _current.get()
        record.trace_id = here.trace_id if here else "-"
        record.span_id = here.span_id or "-" if here else "-"
        record.request_id = here.request_id or "-" if here else "-"
        return True


# ── Records: bounded, plain JSON ─────────────────────────────────────────────────────────────────────────────────────


def _offer(record):
    """Never raises, never waits."""
    try:
        if record.get("status") == "completed" and record.get("error"):
            record["status"] = "failed"
        _sender.offer(_encoded(record))
    except Exception:
        _sender.dropped += 1


def _encoded(record):
    # Cut first, so that a huge value costs what is kept of it, and the small members before the large ones.
    left = [MAX_RECORD // 2]
    plain = _plain(dict(sorted(record.items(), key=lambda member: _is_large(member[1]))), left, 0)
    if left[0] <= 0:
        plain["client.truncated"] = True
    # "replace": half a surrogate pair is no UTF-8.
    return json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _is_large(value):
    return isinstance(value, (dict, list, tuple, set, frozenset)) or isinstance(value, str) and len(value) > 1024


def _plain(value, left, depth):
    """`value` as JSON knows it. Objects of unknown types are named, not asked: their text could cost or reveal anything."""
    left[0] -= 16
    if value is None or value is True or value is False:
        return value
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, str):
        kept = max(0, min(MAX_TEXT, left[0]))
        text = str(value[:kept])
        left[0] -= len(text) if text.isascii() else 4 * len(text)
        return text
    if isinstance(value, numbers.Integral):
        value = int(value)
        return value if -(1 << 63) <= value < 1 << 63 else f"<{value.bit_length()} bits>"
    if isinstance(value, numbers.Real):  # numpy's too
        value = float(value)
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal, pathlib.PurePath)):
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"<{len(value)} bytes>"
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        if depth >= 32:
            return "<too deep>"
        if isinstance(value, dict):
            kept = {}
            for key, inner in value.items():
                if left[0] <= 0:
                    break
                kept[_plain(str(key) if isinstance(key, (str, int, float)) else "?", left, depth)] = _plain(
                    inner, left, depth + 1
                )
            return kept
        kept = []
        for inner in value:
            if left[0] <= 0:
                break
            kept.append(_plain(inner, left, depth + 1))
        return kept
    return f"<{type(value).__name__}>"


def _told(error):
    if not isinstance(error, BaseException):
        return {"type": "error", "message": str(error)[:4096]}
    # Without source lines: reading files is no work for the caller's thread.
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), limit=-20, lookup_lines=False)
    stack = "\n".join(f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    return {"type": type(error).__name__, "message": str(error)[:4096], "stack": stack}


# ── The sender: one daemon thread, started by the first record ───────────────────────────────────────────────────────


class _Flush:
    def __init__(self, seconds):
        self.deadline, self.done = time.monotonic() + seconds, threading.Event()


class _Sender:
    def __init__(self, url=None, key=None, max_spans=10_000, max_bytes=8 << 20, linger_seconds=0.2, exit_seconds=1.0, gzip=False):
        self.url = url or os.environ.get("TRACEFALL_URL") or "http://127.0.0.1:4318"
        self.key = key or os.environ.get("TRACEFALL_KEY")
        self.max_spans, self.max_bytes, self.gzip = max_spans, max_bytes, gzip
        self.linger_seconds, self.exit_seconds = linger_seconds, exit_seconds
        self.reset()

    def reset(self):
        """Empty, without a thread: also the state of a forked child, whose parent sends what was queued."""
        # Re-entrant, and a queue whose put is: a signal handler may trace while its thread is in here.
        self.lock, self.wake = threading.RLock(), queue.SimpleQueue()
        self.queue, self.batch, self.bytes = deque(), [], 0
        self.thread = self.connection = None
        self.failures, self.closed_until = 0, 0.0
        self.connecting, self.forking = threading.Lock(), False
        self.recorded = self.sent = self.dropped = self.rejected = self.requests = self.failed_requests = 0

    def stats(self):
        with self.lock:
            names = ("recorded", "sent", "dropped", "rejected", "requests", "failed_requests")
            counts = {name: getattr(self, name) for name in names}
            return dict(counts, queued=len(self.queue) + len(self.batch), queued_bytes=self.bytes)

    def offer(self, line):
        with self.lock:
            self.recorded += 1
            if len(line) > MAX_RECORD:
                self.dropped += 1
                return
            self.queue.append(line)
            self.bytes += len(line)
            while self.queue and (len(self.queue) + len(self.batch) > self.max_spans or self.bytes > self.max_bytes):
                self.bytes -= len(self.queue.popleft())
                self.dropped += 1
            queued = len(self.queue)
            if self.thread is None:
                self.start()
        if queued in (1, BATCH):
            self.wake.put(None)

    def start(self):
        _at_exit_of_a_worker()
        self.thread = threading.Thread(target=self.run, name="tracefall", daemon=True)
        self.thread.start()

    def flush(self, seconds):
        """Waits until all that was recorded is sent or the time is over; says which."""
        with self.lock:
            if self.thread is None or not (self.queue or self.batch):
                return True
        asked = _Flush(seconds)
        self.wake.put(asked)
        asked.done.wait(seconds)
        return not (self.queue or self.batch)

    def run(self):
        while True:
            asked = self.wait()
            try:
                while self.take() and self.send(asked) and (asked or len(self.queue) >= BATCH):
                    pass
            except Exception:  # nothing is known to raise; if something does, the batch must not come back for ever
                with self.lock:
                    self.dropped += len(self.batch)
                    self.let_go()
            if asked:
                asked.done.set()

    def wait(self):
        """Until a batch is full or old enough and the server may be tried; gives the flush that was asked for, if any."""
        asked = None
        if not self.queue and not self.batch:
            asked = self.wake.get()
        until = max(time.monotonic() + self.linger_seconds, self.closed_until)
        while asked is None:
            left = until - time.monotonic()
            if left <= 0 or (len(self.queue) >= BATCH and not self.failures):
                return None
            try:
                asked = self.wake.get(timeout=left)
            except queue.Empty:
                return None
        return asked

    def take(self):
        """Fills the batch, unless one is still to be sent again."""
        with self.lock:
            size = 0
            while not self.failures and self.queue and len(self.batch) < BATCH and size < BATCH_BYTES:
                self.batch.append(self.queue.popleft())
                size += len(self.batch[-1])
            if not self.batch and self.queue:
                self.batch.append(self.queue.popleft())
            return bool(self.batch)

    def let_go(self):
        self.bytes -= sum(map(len, self.batch))
        self.batch = []

    def send(self, asked):
        """Posts the batch; False if the server is away and the batch waits."""
        with self.lock:
            self.requests += 1
        try:
            status, retry_after, answer = self.post(b"[" + b",".join(self.batch) + b"]", asked)
        except Exception as error:
            return self.away(type(error).__name__, None)
        with self.lock:
            if 200 <= status < 300:
                rejected = len(answer.get("rejected") or ())
                self.sent += len(self.batch) - rejected
                self.rejected += rejected
                self.let_go()
            elif status == 413 and len(self.batch) > 1:
                half = len(self.batch) // 2
                self.queue.extendleft(reversed(self.batch[half:]))
                self.batch = self.batch[:half]
                return self.send(asked)
            elif status in (400, 413, 415, 422):
                self.rejected += len(self.batch)
                self.let_go()
            else:
                return self.away(f"status {status}", retry_after)
            if self.failures:
                log.warning("tracefall: the server takes spans again")
            self.failures = 0
            return True

    def away(self, reason, retry_after):
        with self.lock:
            self.failed_requests += 1
            if not self.failures:
                log.warning("tracefall: the server takes no spans (%s): they are kept, the oldest dropped", reason)
            self.failures = min(self.failures + 1, 10)
            delay = min(SLOWEST_PROBE, 0.25 * 2**self.failures) * random.uniform(0.5, 1)
            if retry_after is not None:
                delay = max(delay, min(retry_after, 60.0) * random.uniform(1, 1.25))
            self.closed_until = time.monotonic() + delay
        return False

    def post(self, body, asked):
        sent = {"Content-Type": "application/json", "User-Agent": "tracefall-python"}
        if self.key:
            sent["Authorization"] = f"Bearer {self.key}"
        if self.gzip and len(body) > 4096:
            body, sent["Content-Encoding"] = gzip_module.compress(body, 1), "gzip"
        timeout = TIMEOUT if asked is None else max(0.01, min(TIMEOUT, asked.deadline - time.monotonic()))
        reused = self.connection is not None
        try:
            return self.request(body, sent, timeout)
        except Exception as error:
            self.disconnect()
            # A kept connection that its other end has closed meanwhile says nothing about the server.
            if not reused or isinstance(error, socket.timeout):
                raise
        try:
            return self.request(body, sent, timeout)
        except Exception:
            self.disconnect()
            raise

    def request(self, body, sent, timeout):
        target = urllib.parse.urlsplit(self.url)
        if self.connection is None:
            kind = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[target.scheme]
            self.connection = kind(target.hostname or "no host in TRACEFALL_URL", target.port, timeout=timeout)
            with self.connecting:
                self.connection.connect()
        self.connection.timeout = timeout
        if self.connection.sock is not None:
            self.connection.sock.settimeout(timeout)
        self.connection.request("POST", target.path.rstrip("/") + "/v1/spans", body, sent)
        response = self.connection.getresponse()
        text = response.read(1 << 20)
        if not response.isclosed():
            self.disconnect()
        try:
            answer = json.loads(text)
        except ValueError:
            answer = {}
        return response.status, _seconds(response.getheader("Retry-After")), answer if isinstance(answer, dict) else {}

    def before_fork(self):
        """Looking up a host takes locks of the C library, which a child would find taken for ever: a fork waits a moment."""
        self.forking = self.connecting.acquire(timeout=0.05)

    def after_fork(self):
        if self.forking:
            self.forking = False
            self.connecting.release()

    def disconnect(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _seconds(retry_after):
    """`Retry-After`: seconds, or a date."""
    try:
        return max(0.0, float(retry_after))
    except (TypeError, ValueError):
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _at_exit_of_a_worker():
    """A child of `multiprocessing` ends without atexit; it has finalizers instead."""
    multiprocessing = sys.modules.get("multiprocessing")
    util = sys.modules.get("multiprocessing.util")
    if util and multiprocessing.parent_process() is not None:
        util.Finalize(None, _at_exit, exitpriority=0)


def _at_exit():
    try:
        _sender.flush(_sender.exit_seconds)
    except Exception:
        pass


# ── Set-up ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_service = os.environ.get("TRACEFALL_SERVICE") or os.path.basename(sys.argv[0] if sys.argv else "") or "python"
_sender = _Sender()


def configure(service=None, **sender):
    """`service` names this program. Of the sender: url, key, max_spans, max_bytes, linger_seconds, exit_seconds, gzip.

    Call it at the start: what an earlier sender had not sent is flushed by nobody.
    """
    global _service, _sender
    _service = service or _service
    if sender:
        _sender = _Sender(**sender)


def flush(seconds=1.0):
    """Waits until all that was recorded is sent, at most `seconds`; says whether it is. For tests and the ends of jobs."""
    return _sender.flush(seconds)


def stats():
    """recorded, sent, dropped, rejected, queued, queued_bytes, requests, failed_requests: counts of records and requests."""
    return _sender.stats()


if enabled:
    atexit.register(_at_exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: _sender.before_fork(),
            after_in_parent=lambda: _sender.after_fork(),
            after_in_child=lambda: _sender.reset(),
        )

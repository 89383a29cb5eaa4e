"""Forks while the client connects, which takes a lock as the C library's look-up of a host does: no child of it has that lock
back. Prints one line of JSON for tests/it/recipes/mod.rs.
"""

import http.client
import json
import os
import sys
import threading
import time

connect = http.client.HTTPConnection.connect
locked_for_children = threading.Lock()


def slowly(connection):
    with locked_for_children:
        time.sleep(0.02)
        connect(connection)


http.client.HTTPConnection.connect = slowly
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/clients/python"))

import tracefall  # noqa: E402

known = "encodings.idna" in sys.modules  # imported by the first connection, if not before
children, ended_well, longest = 10, 0, 0.0
tracefall.configure(linger_seconds=0.0)
with tracefall.span("fork") as root:
    for _ in range(children):
        tracefall._sender.connection = None  # as after an answer that closes it
        with tracefall.span("parent"):
            pass
        time.sleep(0.005)  # by now the sender connects
        begun = time.perf_counter()
        child = os.fork()
        longest = max(longest, time.perf_counter() - begun)
        if child == 0:
            with tracefall.span("child"):
                pass
            os._exit(0 if tracefall.flush(5.0) else 1)
        ended_well += os.waitpid(child, 0)[1] == 0
        tracefall.flush(5.0)
told = {"trace_id": root.trace_id, "spans": 2 * children + 1, "known": known, "children": children, "ended_well": ended_well}
print(json.dumps({**told, "longest_fork_ms": longest * 1000}), flush=True)

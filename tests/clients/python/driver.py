"""Measures what a traced call costs its caller, and that nothing else changes. Prints one line of JSON for tests/it/recipes/mod.rs.

python3 driver.py plain|modal CALLS MAX_SPANS

With DRAIN set it reports when everything is sent, after ten seconds at most.
"""

import asyncio
import inspect
import json
import os
import sys
import threading
import time

clients = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/clients/python")
sys.path.insert(0, clients)

import tracefall  # noqa: E402

if sys.argv[1] == "modal":
    import modal_function

calls, max_spans = int(sys.argv[2]), int(sys.argv[3])
if max_spans:
    tracefall._sender.max_spans = max_spans


class Refused(Exception):
    pass


def work(number):
    if number % 10 == 9:
        raise Refused(number)
    return {"number": number}


if sys.argv[1] == "modal":
    traced = modal_function.inference(model="llama-3.2-1b", gpu="A10G", region="us-east")(work)
    traced_async = None
else:
    traced = tracefall.traced("call", region="us-east", attributes={"text": "x" * 200})(work)

    @tracefall.traced("call.async")
    async def traced_async(number):
        await asyncio.sleep(0)
        return work(number)


decorator = modal_function.inference() if sys.argv[1] == "modal" else tracefall.traced()


@decorator
def generated(count):
    yield from range(count)
    return "end"


@decorator
async def generated_async(count):
    for number in range(count):
        yield number


@decorator
async def awaited(value):
    return value


def kinds_are_kept():
    """Decorated, what a runtime asks of a function is answered as before, and so is its caller. Three spans."""
    kinds = inspect.isgeneratorfunction(generated) and inspect.isasyncgenfunction(generated_async)
    kinds = kinds and inspect.iscoroutinefunction(awaited)

    async def tasks():
        return [number async for number in generated_async(3)], await awaited("value")

    return kinds and list(generated(3)) == [0, 1, 2] and asyncio.run(tasks()) == ([0, 1, 2], "value")


def once(number):
    """Calls the traced function; gives the time it took, in microseconds, and whether it did what it does untraced."""
    begun = time.perf_counter_ns()
    try:
        result = traced(number)
    except Refused as error:
        result = error
    took = (time.perf_counter_ns() - begun) / 1000
    expected = isinstance(result, Refused) and result.args == (number,) if number % 10 == 9 else result == {"number": number}
    return took, expected


def in_parallel(root):
    """Threads and tasks: their spans are children of the same root."""
    same = []
    threads = [threading.Thread(target=tracefall.carry(lambda n=n: same.append(once(n)[1]))) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if traced_async is None:
        return all(same), 4

    async def tasks():
        return await asyncio.gather(*(traced_async(n) for n in range(8)))

    same.append(asyncio.run(tasks()) == [{"number": n} for n in range(8)])
    return all(same), 12


def drain():
    deadline = time.monotonic() + 10
    while os.environ.get("DRAIN") and tracefall.stats()["queued"] and time.monotonic() < deadline:
        time.sleep(0.01)


def after_fork(root):
    """A child has a queue and a thread of its own; its span is a child of the same root."""
    child = os.fork()
    if child == 0:
        same = once(0)[1]
        tracefall.flush(1.0)
        drain()
        os._exit(0 if same and (tracefall.stats()["recorded"] == 1 or not tracefall.enabled) else 1)
    return os.waitpid(child, 0)[1] == 0


times, same, most = [], True, 0
threads_before = threading.active_count()
with tracefall.span("driver", announce=True, execution_id=f"driver-{os.getpid()}") as root:
    for number in range(calls):
        took, expected = once(number)
        times.append(took)
        same = same and expected
        most = max(most, tracefall.stats()["queued"])
    parallel_same, parallel = in_parallel(root)
    same = kinds_are_kept() and same
    forked_same = after_fork(root)
drain()
times.sort()
stats = tracefall.stats()
print(
    json.dumps(
        {
            "trace_id": root.trace_id,
            "calls": calls,
            "spans": calls + parallel + 5,  # the kinds, the root and the forked child's
            "p50_us": times[len(times) // 2],
            "p99_us": times[len(times) * 99 // 100],
            "max_us": times[-1],
            "same": same and parallel_same and forked_same,
            "most_queued": most,
            "threads": threading.active_count() - threads_before,
            **stats,
        }
    ),
    flush=True,
)

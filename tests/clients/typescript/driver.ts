/**
 * Measures what a traced call costs its caller, and that nothing else changes. Prints one line of JSON for tests/it/recipes/mod.rs.
 *
 *     node driver.ts CALLS MAX_SPANS
 *
 * With DRAIN set it reports when everything is sent, after ten seconds at most.
 */
import * as tracefall from "../../../docs/clients/typescript/tracefall.ts";

// deno-lint-ignore no-explicit-any
const host = globalThis as any;
const [calls, maxSpans] = host.process.argv.slice(2).map(Number) as [number, number];

class Refused extends Error {}

function work(number: number): { number: number } {
  if (number % 10 === 9) throw new Refused(String(number));
  return { number };
}

const fields = { region: "us-east", attributes: { text: "x".repeat(200) } };
const tracedCall = tracefall.traced("call", work, fields);
const tracedTask = tracefall.traced("call.async", async (number: number) => {
  await new Promise((done) => setTimeout(done, 1));
  const inner = tracefall.span("call.inner", {}, () => work(number));
  return { inner, seen: tracefall.logFields().trace_id ?? "" };
});

/** The time that a call took, in microseconds, and whether it did what it does untraced. */
function once(number: number): [number, boolean] {
  const begun = performance.now();
  let result: unknown;
  try {
    result = tracedCall(number);
  } catch (error) {
    result = error;
  }
  const took = (performance.now() - begun) * 1000;
  const refused = number % 10 === 9;
  const same = refused ? result instanceof Refused && result.message === String(number) : (result as { number: number }).number === number;
  return [took, same];
}

async function tasks(traceId: string): Promise<boolean> {
  const ended = await Promise.allSettled([...Array(10).keys()].map((number) => tracedTask(number)));
  return ended.every((task, number) =>
    number === 9
      ? task.status === "rejected" && task.reason instanceof Refused
      : task.status === "fulfilled" && task.value.inner.number === number && task.value.seen === traceId,
  );
}

/** What a caller may give, at its worst: none of it may harm. */
function oddities(span: tracefall.Span): void {
  const circle: Record<string, unknown> = { half: "\ud800", nan: NaN, big: 10n ** 30n, when: new Date(NaN), what: Symbol("s") };
  circle.self = circle;
  span.setAttribute("odd", circle).setAttribute("long", "é".repeat(1 << 20)).setAttribute("class", new Map());
}

await tracefall.ready;
if (maxSpans > 0) tracefall.configure({ maxSpans });
tracefall.configure({ service: "driver" });
const times: number[] = [];
let same = true;
let most = 0;
const root = await tracefall.span("driver", { announce: true, execution_id: `driver-${host.process.pid}` }, async (root) => {
  oddities(root);
  for (let number = 0; number < calls; number++) {
    const [took, expected] = once(number);
    times.push(took);
    same &&= expected;
    most = Math.max(most, tracefall.stats().queued);
    // The loop turns, as it does in a server: otherwise nothing is sent before the end.
    if (number % 100 === 99) await new Promise((done) => setTimeout(done, 0));
  }
  same = (await tasks(root.traceId)) && same;
  return root;
});
const deadline = Date.now() + 10_000;
while (host.process.env.DRAIN && tracefall.stats().queued > 0 && Date.now() < deadline) {
  await new Promise((done) => setTimeout(done, 10));
}
times.sort((a, b) => a - b);
const report = {
  trace_id: root.traceId,
  calls,
  spans: calls + 21,
  p50_us: times[times.length >> 1],
  p99_us: times[Math.floor(times.length * 0.99)],
  max_us: times.at(-1),
  same,
  most_queued: most,
  threads: 0,
  ...tracefall.stats(),
};
console.log(JSON.stringify(report));

/** A page that is left: as much of a browser as the client looks for. Prints what was sent, for tests/it/recipes/mod.rs. */

// deno-lint-ignore no-explicit-any
const host = globalThis as any;
const listeners: Record<string, () => void> = {};
const beacons: { url: string; body: string }[] = [];
host.document = { addEventListener() {}, visibilityState: "visible" };
host.addEventListener = (name: string, listener: () => void) => (listeners[name] = listener);
Object.defineProperty(host, "navigator", {
  configurable: true,
  value: {
    sendBeacon(url: string, blob: Blob) {
      blob.text().then((body) => beacons.push({ url, body }));
      return blob.type === "" && blob.size < 64 << 10;
    },
  },
});
const { configure, startSpan, stats } = await import("../../../docs/clients/typescript/tracefall.ts");
configure({ enabled: true, url: "http://tracefall.test", key: "", lingerMs: 60_000 });
for (let number = 0; number < 400; number++) startSpan("click", { attributes: { text: "x".repeat(200) } }).complete();
listeners.pagehide!();
await new Promise((done) => setTimeout(done, 10));
const spans = beacons.flatMap((beacon) => JSON.parse(beacon.body)).length;
console.log(JSON.stringify({ beacons: beacons.length, url: beacons[0]?.url, spans, left: stats().queued, recorded: stats().recorded }));
host.process.exit(0);

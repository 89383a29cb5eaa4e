/**
 * Tracefall client for TypeScript, in Node 18 and newer and in browsers: one file to copy, no dependency, and only syntax
 * that can be stripped (`node --experimental-strip-types`, esbuild, tsc).
 *
 *     const answer = await span("router.modal_call", { kind: "client", region: "us-east" }, async (call) => {
 *       const response = await tracedFetch(url, { method: "POST", body });
 *       call.set({ retry_count: 1 });
 *       return response.json();
 *     });
 *
 * It is off unless ENABLE_DB_TRACING=true (a browser: `configure({ enabled: true, url, key })`): then there is no timer and no
 * socket, and every span is one shared object that does nothing. TRACEFALL_URL (http://127.0.0.1:4318), TRACEFALL_KEY and
 * TRACEFALL_SERVICE configure it. A key in a browser is public: use one whose only scope is `ingest`.
 *
 * What it promises to its host: it throws nothing into it and never makes it wait. A record is encoded (cut to MAX_RECORD)
 * and queued, bounded by count and size, the oldest going first; a timer that does not keep the process alive posts
 * batches. While the server is away, one request every few seconds finds out whether it is back. The key is never logged.
 * When Node has nothing more to do, and when a page is left, it sends what is there, once; process.exit() and signals do not
 * wait: `await flush()` before them.
 *
 * Context follows await and callbacks through AsyncLocalStorage where there is one (in ES modules before Node 20.16,
 * `await ready` once at the start). In browsers it does not cross an await: pass `{ parent: span.context }`.
 */

export type Context = Readonly<{ traceId: string; spanId?: string; requestId?: string; run: Record<string, unknown> }>;

/** Members of a span as docs/api.md names them (region, model, tokens, retry_count …), and what to do with it. */
export type Fields = {
  attributes?: Record<string, unknown>;
  /** Send it at its start too, so that it is seen running: for spans of many seconds. */
  announce?: boolean;
  /** By default the enclosing span's context. */
  parent?: Context;
  [member: string]: unknown;
};

export type Settings = {
  enabled?: boolean;
  url?: string;
  key?: string;
  service?: string;
  maxSpans?: number;
  maxBytes?: number;
  lingerMs?: number;
  exitMs?: number;
};

export type Stats = Record<
  "recorded" | "sent" | "dropped" | "rejected" | "queued" | "queued_bytes" | "requests" | "failed_requests",
  number
>;

const BATCH = 500; // records in a request
const BATCH_SIZE = 1 << 20;
const MAX_RECORD = 256 << 10; // characters of one record; longer texts in it are cut
const MAX_TEXT = 64 << 10;
const MAX_EVENTS = 128;
const TIMEOUT_MS = 2_000;
const SLOWEST_PROBE_MS = 5_000; // between attempts while the server is away
const LEAVING = 60_000; // what browsers let a page send when it is left, a little less than 64 KiB

// Node, browsers and others differ in what they have; nothing is taken for granted.
// deno-lint-ignore no-explicit-any
const host = globalThis as any;
const environment: Record<string, string | undefined> = host.process?.env ?? {};

const settings: Required<Settings> = {
  enabled: (environment.ENABLE_DB_TRACING ?? "").trim().toLowerCase() === "true",
  url: environment.TRACEFALL_URL || "http://127.0.0.1:4318",
  key: environment.TRACEFALL_KEY ?? "",
  service: environment.TRACEFALL_SERVICE || (host.document ? "browser" : "node"),
  maxSpans: 10_000,
  maxBytes: 8 << 20,
  lingerMs: 200,
  exitMs: 1_000,
};

/** For the start of the program. */
export function configure(changed: Settings): void {
  Object.assign(settings, changed);
}

export function isEnabled(): boolean {
  return settings.enabled;
}

// ── Context ─────────────────────────────────────────────────────────────────────────────────────────────────────────

type Place = { context: Context; span: Span | undefined };
type Storage = { getStore(): Place | undefined; run<T>(place: Place, work: () => T): T };

/** Without AsyncLocalStorage: right until the first await. */
let now: Place | undefined;
let storage: Storage = {
  getStore: () => now,
  run(place, work) {
    const outer = now;
    now = place;
    try {
      return work();
    } finally {
      now = outer;
    }
  },
};

/** Settled when context follows awaits, which is at once except in ES modules before Node 20.16. */
export const ready: Promise<void> = findStorage();

function findStorage(): Promise<void> {
  const name = "node:async_hooks";
  const take = (hooks: { AsyncLocalStorage?: new () => Storage } | undefined) => {
    if (hooks?.AsyncLocalStorage) storage = new hooks.AsyncLocalStorage();
  };
  try {
    if (!settings.enabled || !host.process?.versions?.node) return Promise.resolve();
    if (host.process.getBuiltinModule) return Promise.resolve(take(host.process.getBuiltinModule(name)));
    return import(/* @vite-ignore */ /* webpackIgnore: true */ name).then(take, () => {});
  } catch {
    return Promise.resolve();
  }
}

/** Where we are, for `parent`. */
export function context(): Context | undefined {
  return storage.getStore()?.context;
}

/** The innermost span that was entered with span() or middleware(), or one that does nothing. */
export function current(): Span {
  return storage.getStore()?.span ?? OFF;
}

/** Runs `work` inside a context, such as one that continued() gave. */
export function within<T>(context: Context | undefined, work: () => T): T {
  return settings.enabled && context ? storage.run({ context, span: undefined }, work) : work();
}

/** The run's ids (execution_id, job_id, question_id …) for this span, and for all that `work` starts. */
export function withExecution<T>(run: Record<string, unknown>, work: () => T): T {
  if (!settings.enabled) return work();
  const here = storage.getStore();
  here?.span?.set(run);
  const outer = here?.context ?? { traceId: generateTraceId(), run: {} };
  return storage.run({ context: { ...outer, run: { ...outer.run, ...run } }, span: here?.span }, work);
}

/** 32 hex digits. */
export function generateTraceId(): string {
  return randomHex(16);
}

function randomHex(length: number): string {
  const bytes = new Uint8Array(length);
  if (host.crypto?.getRandomValues) host.crypto.getRandomValues(bytes);
  else for (let at = 0; at < length; at++) bytes[at] = Math.random() * 256; // Node 18
  let text = "";
  for (const byte of bytes) text += (byte + 256).toString(16).slice(1);
  return text;
}

// ── Spans ───────────────────────────────────────────────────────────────────────────────────────────────────────────

export class Span {
  readonly context: Context;
  readonly record: Record<string, unknown> = {};
  readonly attributes: Record<string, unknown> = {};
  private readonly events: unknown[] = [];
  private readonly begun: number = 0;
  private ended = false;

  constructor(operation: string, fields: Fields, off = false) {
    if (off) {
      this.context = { traceId: "", run: {} };
      this.ended = true;
      return;
    }
    const { attributes, announce, parent: given, ...members } = fields;
    const parent = given ?? context() ?? { traceId: generateTraceId(), run: {} };
    this.context = { ...parent, spanId: randomHex(8) };
    Object.assign(this.attributes, parent.requestId ? { request_id: parent.requestId } : {}, attributes);
    this.begun = performance.now();
    Object.assign(this.record, { service: settings.service, operation }, parent.run, members, {
      trace_id: parent.traceId,
      span_id: this.context.spanId,
      started_at_unix_us: micros(),
    });
    if (parent.spanId) this.record.parent_span_id = parent.spanId;
    if (announce) offer({ ...this.record, status: "running", attributes: this.attributes });
  }

  get traceId(): string {
    return this.context.traceId;
  }

  set(members: Record<string, unknown>): this {
    if (!this.ended) Object.assign(this.record, members);
    return this;
  }

  setAttribute(key: string, value: unknown): this {
    if (!this.ended) this.attributes[key] = value;
    return this;
  }

  event(name: string, attributes: Record<string, unknown> = {}): this {
    if (!this.ended && this.events.length < MAX_EVENTS) {
      this.events.push({ name, time_unix_us: micros(), attributes });
    }
    return this;
  }

  /** Only the first end counts. */
  complete(members: Record<string, unknown> = {}): void {
    if (this.ended) return;
    this.ended = true;
    const took = Math.round((performance.now() - this.begun) * 1000);
    Object.assign(this.record, { status: this.record.error ? "failed" : "completed" }, members);
    this.record.completed_at_unix_us = (this.record.started_at_unix_us as number) + took;
    offer({ ...this.record, attributes: this.attributes, events: this.events });
  }

  /** `error` is whatever was thrown; an AbortError cancels. */
  fail(error: unknown, members: Record<string, unknown> = {}): void {
    if (this.ended) return;
    const said = told(error);
    this.complete(said.type === "AbortError" ? { status: "cancelled", ...members } : { status: "failed", error: said, ...members });
  }
}

const OFF = new Span("", {}, true);

/** A span to end by hand with complete() or fail(). */
export function startSpan(operation: string, fields: Fields = {}): Span {
  if (!settings.enabled) return OFF;
  try {
    return new Span(operation, fields);
  } catch {
    return OFF;
  }
}

/** Runs `work` as a span and gives what it gives, value or promise; what it throws fails the span and goes on. */
export function span<T>(operation: string, fields: Fields, work: (span: Span) => T): T {
  const begun = startSpan(operation, fields);
  if (begun === OFF) return work(OFF);
  const place = { context: begun.context, span: begun };
  let result: T;
  try {
    result = storage.run(place, () => work(begun));
  } catch (error) {
    begun.fail(error);
    throw error;
  }
  if (!(result instanceof Promise)) {
    begun.complete();
    return result;
  }
  // The promise that then() gives rather than the first one: a rejection that nobody handles must stay one.
  return result.then(
    (value) => {
      begun.complete();
      return value;
    },
    (error) => {
      begun.fail(error);
      throw error;
    },
  ) as T;
}

/** `work`, each of whose calls is a span. */
export function traced<A extends unknown[], R>(operation: string, work: (...given: A) => R, fields: Fields = {}): (...given: A) => R {
  if (!settings.enabled) return work;
  return function (this: unknown, ...given: A): R {
    return span(operation, fields, () => work.apply(this, given));
  };
}

let offset = Date.now() - performance.now();

/** Wall clock in microseconds: steady, and put right when the system's clock was. */
function micros(): number {
  const steady = performance.now();
  const drift = Date.now() - (steady + offset);
  if (Math.abs(drift) > 10) offset += drift;
  return Math.round((steady + offset) * 1000);
}

// ── Propagation ─────────────────────────────────────────────────────────────────────────────────────────────────────

const TRACEPARENT = /^(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?$/;
const TRACE_ID = /^(?!0+$)([0-9a-f]{16}|[0-9a-f]{32})$/;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;

/** What an outgoing request must carry so that its receiver continues this trace. */
export function headers(here: Context | undefined = context()): Record<string, string> {
  if (!here?.traceId) return {};
  const carried: Record<string, string> = { "X-Trace-ID": here.traceId };
  if (here.spanId) carried.traceparent = `00-${here.traceId}-${here.spanId}-01`;
  if (here.requestId) carried["X-Request-ID"] = here.requestId;
  return carried;
}

/** The context that headers (a Headers, or an object with names in any case) carry; without one, a new trace. */
export function continued(carried: Headers | Record<string, unknown>): Context {
  const pairs: Iterable<[string, unknown]> = carried instanceof Headers ? carried : Object.entries(carried ?? {});
  const get: Record<string, string> = {};
  for (const [name, value] of pairs) get[name.toLowerCase()] = String(value).trim();
  const requestId = REQUEST_ID.test(get["x-request-id"] ?? "") ? get["x-request-id"] : undefined;
  const parent = TRACEPARENT.exec(get.traceparent ?? "");
  if (parent && !(parent[1] === "00" && parent[4])) return { traceId: parent[2]!, spanId: parent[3]!, requestId, run: {} };
  const traceId = (get["x-trace-id"] ?? "").replaceAll("-", "").toLowerCase();
  return { traceId: TRACE_ID.test(traceId) ? traceId.padStart(32, "0") : generateTraceId(), requestId, run: {} };
}

/** fetch() that carries the trace. A browser asks other origins first whether it may: they must allow the three headers. */
export function tracedFetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
  const carried = settings.enabled ? headers() : {};
  if (!carried["X-Trace-ID"]) return host.fetch(input, init);
  const all = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  for (const [name, value] of Object.entries(carried)) all.set(name, value);
  return host.fetch(input, { ...init, headers: all });
}

type Incoming = { method?: string; url?: string; headers: Record<string, unknown> };
type Outgoing = { statusCode: number; writableFinished?: boolean; setHeader(n: string, v: string): unknown; once(e: string, f: () => void): unknown };

/** Express and Connect: app.use(middleware). Plain Node: createServer((req, res) => middleware(req, res, () => handle(req, res))). */
export function middleware<T>(request: Incoming, response: Outgoing, next: () => T): T {
  if (!settings.enabled) return next();
  let begun: Span;
  try {
    const origin = continued(request.headers);
    const parent = { ...origin, requestId: origin.requestId ?? randomHex(16) };
    const path = (request.url ?? "").split("?")[0];
    const attributes = { "http.request.method": request.method, "url.path": path };
    begun = new Span(`${request.method} ${path}`, { kind: "server", attributes, parent });
    response.setHeader("X-Trace-ID", parent.traceId);
    response.setHeader("X-Request-ID", parent.requestId);
    response.once("close", () => {
      begun.setAttribute("http.response.status_code", response.statusCode);
      const failed = response.statusCode >= 500;
      if (failed) begun.complete({ status: "failed", error: { type: `${response.statusCode}`, message: `answered ${response.statusCode}` } });
      else begun.complete(response.writableFinished === false ? { status: "cancelled" } : {});
    });
  } catch {
    return next();
  }
  return storage.run({ context: begun.context, span: begun }, next);
}

/** trace_id, span_id and request_id for a log line; {} outside of a trace. */
export function logFields(): Record<string, string> {
  const here = context();
  if (!here) return {};
  const pairs = { trace_id: here.traceId, span_id: here.spanId, request_id: here.requestId };
  return Object.fromEntries(Object.entries(pairs).filter(([, value]) => value)) as Record<string, string>;
}

// ── Records: bounded, plain JSON ────────────────────────────────────────────────────────────────────────────────────

const counts = { recorded: 0, sent: 0, dropped: 0, rejected: 0, requests: 0, failed_requests: 0 };

function offer(record: Record<string, unknown>): void {
  counts.recorded++;
  try {
    // The small members before the large ones, so that those are what is cut.
    const members = Object.entries(record).filter(([, value]) => value !== undefined);
    const large = (value: unknown) => (typeof value === "object" ? 1 : typeof value === "string" && value.length > 1024 ? 1 : 0);
    members.sort(([, a], [, b]) => large(a) - large(b));
    const left = { characters: MAX_RECORD / 2 };
    const plain = plainOf(Object.fromEntries(members), left, 0) as Record<string, unknown>;
    if (left.characters <= 0) plain["client.truncated"] = true;
    enqueue(JSON.stringify(plain));
  } catch {
    counts.dropped++;
  }
}

/** `value` as JSON knows it, cut to what is left. Objects of classes are named, not asked: their text could cost anything. */
function plainOf(value: unknown, left: { characters: number }, depth: number): unknown {
  left.characters -= 16;
  switch (typeof value) {
    case "string": {
      const text = value.slice(0, Math.max(0, Math.min(MAX_TEXT, left.characters))).replace(/\p{Surrogate}/gu, "\ufffd");
      left.characters -= text.length;
      return text;
    }
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "boolean":
    case "undefined":
      return value;
    case "bigint":
      return value.toString().slice(0, 64);
    case "function":
    case "symbol":
      return `<${typeof value}>`;
  }
  if (value === null) return null;
  if (depth > 16) return "<too deep>";
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "Invalid Date" : value.toISOString();
  if (value instanceof Error) return told(value);
  if (Array.isArray(value) || value instanceof Set) {
    const items = [];
    for (const item of value) {
      if (left.characters <= 0) break;
      items.push(plainOf(item, left, depth + 1) ?? null);
    }
    return items;
  }
  const kind = Object.getPrototypeOf(value);
  if (kind !== null && kind !== Object.prototype) return `<${kind.constructor?.name ?? "object"}>`;
  const members: Record<string, unknown> = {};
  for (const key in value) {
    if (left.characters <= 0) break;
    left.characters -= key.length;
    members[key.slice(0, 256)] = plainOf((value as Record<string, unknown>)[key], left, depth + 1);
  }
  return members;
}

function told(error: unknown): Record<string, string> {
  try {
    if (!(error instanceof Error)) return { type: typeof error, message: String(error).slice(0, 4096) };
    // A class that does not set its name has that of its base.
    const name = error.name === "Error" ? error.constructor.name : error.name;
    const said = { type: String(name).slice(0, 256), message: String(error.message).slice(0, 4096) };
    return { ...said, stack: String(error.stack ?? "").slice(0, 8192) };
  } catch {
    return { type: "Error" };
  }
}

// ── The sender: a timer and one request at a time ───────────────────────────────────────────────────────────────────

const queue: string[] = [];
let batch: string[] = []; // being sent, or to be sent again
let size = 0; // of the queue and the batch: two bytes a character at most
let timer: unknown;
let pumping: Promise<void> | undefined;
let abort: AbortController | undefined;
let failures = 0;
let closedUntil = 0;
let watching = false;
let seenAtExit = 0;

function sizeOf(line: string): number {
  return 2 * line.length;
}

function enqueue(line: string): void {
  if (line.length > MAX_RECORD) {
    counts.dropped++;
    return;
  }
  queue.push(line);
  size += sizeOf(line);
  while (queue.length > 0 && (queue.length + batch.length > settings.maxSpans || size > settings.maxBytes)) {
    size -= sizeOf(queue.shift()!);
    counts.dropped++;
  }
  if (!watching) watch();
  if (queue.length === BATCH && failures === 0) schedule(0);
  else if (timer === undefined) schedule(settings.lingerMs);
}

/** Sets the timer, which never keeps a process alive. */
function schedule(delay: number): void {
  if (pumping) return; // it goes on by itself
  clearTimeout(timer as number);
  timer = setTimeout(() => void pump(), Math.max(delay, closedUntil - Date.now()));
  (timer as { unref?: () => void }).unref?.();
}

/** Sends what is there, one batch after another; with `all`, also the last one that is not full. Never rejects. */
function pump(all = false): Promise<void> {
  clearTimeout(timer as number);
  timer = undefined;
  const work = async () => {
    while (take() && (await send()) && (all || queue.length >= BATCH));
  };
  pumping ??= work()
    .catch(() => {
      // Nothing is known to get here; if something does, the batch must not come back for ever.
      counts.dropped += batch.length;
      letGo();
    })
    .then(() => {
      pumping = undefined;
      if (queue.length + batch.length > 0) schedule(settings.lingerMs);
    });
  return pumping;
}

/** Fills the batch, unless one is still to be sent again. */
function take(): boolean {
  if (batch.length === 0) {
    let characters = 0;
    let count = 0;
    while (count < queue.length && count < BATCH && characters < BATCH_SIZE) characters += queue[count++]!.length;
    batch = queue.splice(0, count);
  }
  return batch.length > 0;
}

function letGo(): void {
  for (const line of batch) size -= sizeOf(line);
  batch = [];
}

/** Posts the batch; false if the server is away and the batch waits. */
async function send(): Promise<boolean> {
  counts.requests++;
  abort = new AbortController();
  const patience = setTimeout(() => abort?.abort(), TIMEOUT_MS);
  (patience as { unref?: () => void }).unref?.();
  let response: Response;
  let rejected = 0;
  try {
    response = await post(`[${batch.join(",")}]`, { signal: abort.signal });
    const answer = await response.json().catch(() => ({}));
    rejected = Array.isArray(answer?.rejected) ? answer.rejected.length : 0;
  } catch {
    return away("no answer", null);
  } finally {
    clearTimeout(patience);
    abort = undefined;
  }
  if (response.ok) {
    counts.sent += batch.length - rejected;
    counts.rejected += rejected;
    letGo();
  } else if (response.status === 413 && batch.length > 1) {
    queue.unshift(...batch.splice(batch.length >> 1));
    return send();
  } else if ([400, 413, 415, 422].includes(response.status)) {
    counts.rejected += batch.length;
    letGo();
  } else {
    return away(`status ${response.status}`, response.headers.get("Retry-After"));
  }
  if (failures > 0) console.warn("tracefall: the server takes spans again");
  failures = 0;
  return true;
}

function away(reason: string, retryAfter: string | null): false {
  counts.failed_requests++;
  if (failures === 0) console.warn(`tracefall: the server takes no spans (${reason}): they are kept, the oldest dropped`);
  failures = Math.min(failures + 1, 10);
  let delay = Math.min(SLOWEST_PROBE_MS, 250 * 2 ** failures) * (0.5 + Math.random() / 2);
  const asked = retryAfter === null ? NaN : Number(retryAfter) * 1000 || Date.parse(retryAfter) - Date.now();
  if (asked > delay) delay = Math.min(asked, 60_000) * (1 + Math.random() / 4);
  closedUntil = Date.now() + delay;
  return false;
}

function post(body: string, more: RequestInit): Promise<Response> {
  const sent: Record<string, string> = { "Content-Type": "application/json" };
  if (settings.key) sent.Authorization = `Bearer ${settings.key}`;
  const request: RequestInit = { method: "POST", headers: sent, body, redirect: "error", ...more };
  if (host.document) Object.assign(request, { credentials: "omit", cache: "no-store" });
  return host.fetch(`${settings.url.replace(/\/+$/, "")}/v1/spans`, request);
}

/** Waits until all that was recorded is sent, at most `ms`; says whether it is. */
export async function flush(ms: number = settings.exitMs): Promise<boolean> {
  const unsent = () => queue.length + batch.length > 0;
  if (!unsent()) return true;
  let late = false;
  let patience: unknown;
  const end = new Promise<void>((done) => {
    patience = setTimeout(() => {
      late = true;
      abort?.abort(); // an open socket would keep the process
      done();
    }, ms);
  });
  const sent = (async () => {
    await pumping;
    if (!late && unsent()) await pump(true);
  })();
  await Promise.race([sent, end]);
  clearTimeout(patience as number);
  return !unsent();
}

export function stats(): Stats {
  return { ...counts, queued: queue.length + batch.length, queued_bytes: size };
}

/** Sees to the end of the process or of the page; once, with the first record. */
function watch(): void {
  watching = true;
  host.process?.on?.("beforeExit", () => {
    // It comes again after whatever is done in it: once for what was recorded since.
    if (counts.recorded > seenAtExit) {
      seenAtExit = counts.recorded;
      void flush(settings.exitMs);
    }
  });
  if (host.document) {
    host.addEventListener?.("pagehide", leave);
    host.document.addEventListener?.("visibilitychange", () => host.document.visibilityState === "hidden" && leave());
  }
}

/** The page may be gone in a moment: what fits into one last request, the newest, without waiting for an answer. */
function leave(): void {
  let characters = 2;
  let count = 0;
  const lines = batch.concat(queue); // what is being sent may be lost with the page; sent twice it is still one span
  while (count < lines.length && characters + 3 * lines[lines.length - 1 - count]!.length <= LEAVING) {
    characters += 3 * lines[lines.length - ++count]!.length + 1;
  }
  if (count === 0) return;
  const body = `[${lines.slice(lines.length - count).join(",")}]`;
  const own = Math.min(count, queue.length);
  for (const line of queue.splice(queue.length - own)) size -= sizeOf(line);
  counts.requests++;
  counts.sent += own;
  const url = `${settings.url.replace(/\/+$/, "")}/v1/spans`;
  try {
    // A beacon carries no key. A Blob without a type is taken as JSON and needs no leave of the other origin.
    if (!settings.key && host.navigator?.sendBeacon?.(url, new Blob([body]))) return;
    post(body, { keepalive: true }).catch(() => {});
  } catch {
    counts.failed_requests++;
  }
}

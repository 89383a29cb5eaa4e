// One trace by OpenTelemetry's SDK for Node, set up by its own environment variables alone: OTEL_TRACES_EXPORTER,
// OTEL_EXPORTER_OTLP_PROTOCOL and the endpoints. Prints what the reader cannot know: the ids, and when it begins.

import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, createTraceState, trace } from '@opentelemetry/api';
import { NodeSDK } from '@opentelemetry/sdk-node';

const sdk = new NodeSDK();
sdk.start();

const second = Math.floor(Date.now() / 1000) - 1;
const at = (nanos) => [second, nanos];
const tracer = trace.getTracer('the-library', '1.2.3');
const linked = {
    traceId: '0000000000000000000000000000000a',
    spanId: '000000000000000b',
    traceFlags: TraceFlags.SAMPLED,
    traceState: createTraceState('vendor=x'),
    isRemote: true,
};
const parent = tracer.startSpan(
    'parent',
    {
        kind: SpanKind.SERVER,
        startTime: at(1),
        attributes: {
            text: 'a "quoted" text\u0007 é 🦀',
            empty: '',
            yes: true,
            no: false,
            whole: Number.MAX_SAFE_INTEGER,
            negative: -5,
            part: 1.5,
            small: 5e-324,
            texts: ['a', 'b'],
            wholes: [1, 2],
            parts: [0.5, 2.5],
            truths: [true, false],
            nothing_in_it: [],
            'http.request.method': 'GET',
            'session.id': 's-1',
            'user.id': 'u-1',
        },
        links: [{ context: linked, attributes: { why: 'it', count: 2 } }],
    },
    ROOT_CONTEXT,
);
const context = trace.setSpan(ROOT_CONTEXT, parent);
const child = tracer.startSpan('child', { kind: SpanKind.CLIENT, startTime: at(2_000) }, context);
child.end(at(502_000));
parent.addEvent('cache miss', { key: 'k', tries: 3, sizes: [1, 2] }, at(600_000));
parent.recordException(new TypeError('no value'), at(700_000));
parent.setStatus({ code: SpanStatusCode.ERROR, message: 'it failed' });
parent.end(at(1_000_003));
await sdk.shutdown();

const { traceId, spanId } = parent.spanContext();
// Beyond what a number of JavaScript's holds: written as text.
const base = `${second}000000000`;
console.log(
    `{"trace_id": "${traceId}", "parent": "${spanId}", "child": "${child.spanContext().spanId}", "base": ${base}}`,
);

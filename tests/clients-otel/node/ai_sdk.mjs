// The Vercel AI SDK with its own telemetry: an answer, and a stream. OPENAI_BASE_URL says where OpenAI is. Prints the id
// of the trace.

import { createOpenAI } from '@ai-sdk/openai';
import { trace } from '@opentelemetry/api';
import { NodeSDK } from '@opentelemetry/sdk-node';
import { generateText, streamText } from 'ai';

const sdk = new NodeSDK();
sdk.start();

const openai = createOpenAI({ baseURL: process.env.OPENAI_BASE_URL, apiKey: 'none' });
const question = {
    model: openai.chat('gpt-4o-mini'),
    prompt: 'Hello?',
    experimental_telemetry: {
        isEnabled: true,
        functionId: 'greet',
        metadata: { sessionId: 'session-1', userId: 'user-1' },
    },
};
await trace.getTracer('app').startActiveSpan('question', async (span) => {
    await generateText(question);
    for await (const _ of streamText(question).textStream) {
        // Read to the end: only then it is counted.
    }
    span.end();
    await sdk.shutdown();
    console.log(JSON.stringify({ trace_id: span.spanContext().traceId }));
});

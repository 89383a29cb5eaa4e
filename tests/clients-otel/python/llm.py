"""OpenAI's package, instrumented by OpenInference, asks three times: for an answer, for a stream, for what is refused.

OPENAI_BASE_URL says where OpenAI is. Prints the id of the trace.
"""

import openai
from openinference.instrumentation import using_attributes
from openinference.instrumentation.openai import OpenAIInstrumentor
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()

client = openai.OpenAI(api_key="none", max_retries=0)
messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello?"}]
with trace.get_tracer("app").start_as_current_span("question") as question:
    with using_attributes(session_id="session-1", user_id="user-1", metadata={"tier": "gold"}, tags=["a", "b"]):
        client.chat.completions.create(model="gpt-4o-mini", messages=messages, temperature=0.5)
        stream = client.chat.completions.create(
            model="gpt-4o-mini", messages=messages, stream=True, stream_options={"include_usage": True}
        )
        assert "".join(part.choices[0].delta.content for part in stream if part.choices) == "Hello there"
        try:
            client.chat.completions.create(model="broken", messages=messages)
        except openai.BadRequestError:
            pass
provider.shutdown()
print(f'{{"trace_id": "{question.get_span_context().trace_id:032x}"}}')

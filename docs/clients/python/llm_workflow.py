"""An LLM workflow traced: copy tracefall.py, and of this file what you need.

    with Workflow("support-answer", query=question, session_id=chat) as workflow:
        with workflow.step("vector_search", "search documents") as step:
            step.set(outputs={"documents": 4})
        with workflow.llm("gpt-4o-mini", provider="openai", inputs=messages) as call:
            reply = client.chat.completions.create(model="gpt-4o-mini", messages=messages)
            call.set(outputs=reply.choices[0].message.content, **usage(reply.usage))
        workflow.evaluation("groundedness", 0.92, label="pass")
        workflow.output(reply)

Started at once (it is seen running), completed at the end, failed by an exception. What an LLM call costs you may say
(`cost_usd`, a text is read exactly). Off unless ENABLE_DB_TRACING=true.
"""

import uuid

import tracefall


class Workflow:
    """One run of a workflow: a trace whose root is sent at the start and completed at the end."""

    def __init__(self, name, query=None, workflow_id=None, execution_id=None, **ids):
        """`ids`: session_id, user_id, job_id, question_id …"""
        self.execution_id = execution_id or str(uuid.uuid4())
        self.run = dict(ids, execution_id=self.execution_id, workflow_id=workflow_id or name)
        self.root = tracefall.span(name, span_type="workflow", inputs=query, announce=True, **self.run)

    @property
    def trace_id(self):
        return self.root.trace_id

    def __enter__(self):
        self.root.__enter__()
        tracefall.set_execution(**self.run)
        return self

    def __exit__(self, *error):
        return self.root.__exit__(*error)

    def step(self, span_type, operation=None, **fields):
        """`span_type`: query_input, chunking, embedding, vector_search, reranking, tool, final_output …"""
        return tracefall.span(operation or span_type, span_type=span_type, **fields)

    def llm(self, model, provider=None, operation="llm", inputs=None, **fields):
        """A call of a model. Set on it: outputs, tokens, cost_usd, model (the one that answered), retry_count."""
        fields = dict(fields, request_model=model, provider=provider, inputs=inputs)
        return tracefall.span(operation, span_type="llm", kind="client", **fields)

    def evaluation(self, name, score, label=None, explanation=None):
        """A judgement of the enclosing span, as OpenTelemetry's event for it."""
        told = {"gen_ai.evaluation.name": name, "gen_ai.evaluation.score.value": score}
        if label is not None:
            told["gen_ai.evaluation.score.label"] = label
        if explanation is not None:
            told["gen_ai.evaluation.explanation"] = explanation
        tracefall.current().event("gen_ai.evaluation.result", **told)

    def output(self, value):
        self.root.set(outputs=value)


def usage(reported):
    """A provider's usage object (OpenAI's and Anthropic's names) as members of a span; {} if it reported none."""
    names = {
        "input": ("prompt_tokens", "input_tokens"),
        "output": ("completion_tokens", "output_tokens"),
        "total": ("total_tokens",),
        "cache_read": ("cache_read_input_tokens",),
        "cache_write": ("cache_creation_input_tokens",),
    }
    counts = {}
    for name, spellings in names.items():
        for spelling in spellings:
            count = reported.get(spelling) if isinstance(reported, dict) else getattr(reported, spelling, None)
            if isinstance(count, int):
                counts[name] = count
    return {"tokens": counts} if counts else {}

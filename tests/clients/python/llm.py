"""Drives docs/clients/python/llm_workflow.py. Prints one line of JSON for tests/it/recipes/mod.rs."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/clients/python"))

import tracefall  # noqa: E402
from llm_workflow import Workflow, usage  # noqa: E402


def answer(question):
    with Workflow("support-answer", query=question, session_id="chat-1") as workflow:
        with workflow.step("vector_search", "search documents") as step:
            step.set(outputs={"documents": 4})
        with workflow.llm("gpt-4o-mini", provider="openai", inputs=[{"role": "user", "content": question}]) as call:
            call.set(outputs="Yes", model="gpt-4o-mini-2024-07-18", cost_usd="0.000180")
            call.set(**usage({"prompt_tokens": 812, "completion_tokens": 97, "total_tokens": 909}))
        with workflow.step("evaluation", "judge"):
            workflow.evaluation("groundedness", 0.92, label="pass")
        if question == "fail":
            raise LookupError("no document")
        workflow.output("Yes")
        return "Yes", workflow


tracefall.configure(service="assistant")
begun = time.perf_counter()
result, workflow = answer("Is it so?")
try:
    same = answer("fail") is None
except LookupError as error:
    same = result == "Yes" and error.args == ("no document",)
took = time.perf_counter() - begun
print(json.dumps({"trace_id": workflow.trace_id, "same": same, "calls": 2, "max_us": took * 1e6, **tracefall.stats()}), flush=True)

"""An endpoint that answers as OpenAI's does to POST /v1/chat/completions, on a free port, which it prints.

The model "broken" is refused with 400. With `"stream": true` the answer comes in three parts, the usage in the last.
"""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {
    "prompt_tokens": 812,
    "completion_tokens": 97,
    "total_tokens": 909,
    "prompt_tokens_details": {"cached_tokens": 512, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 40, "audio_tokens": 0},
}
MODEL = "gpt-4o-mini-2024-07-18"


def head(kind):
    return {"id": "chatcmpl-1", "object": kind, "created": 1767607200, "model": MODEL}


def answer():
    message = {"role": "assistant", "content": "Hello there", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return head("chat.completion") | {"choices": [choice], "usage": USAGE}


def parts():
    for delta, finish in [({"role": "assistant", "content": "Hello"}, None), ({"content": " there"}, "stop")]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        yield head("chat.completion.chunk") | {"choices": [choice], "usage": None}
    yield head("chat.completion.chunk") | {"choices": [], "usage": USAGE}


class OpenAi(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.reply(404, "application/json", json.dumps({"error": {"message": f"no {self.path} here"}}))
        elif asked["model"] == "broken":
            error = {"message": "there is no such model", "type": "invalid_request_error", "param": "model", "code": None}
            self.reply(400, "application/json", json.dumps({"error": error}))
        elif asked.get("stream"):
            lines = [json.dumps(part) for part in parts()] + ["[DONE]"]
            self.reply(200, "text/event-stream", "".join(f"data: {line}\n\n" for line in lines))
        else:
            self.reply(200, "application/json", json.dumps(answer()))

    def reply(self, status, kind, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), OpenAi)
print(server.server_port, flush=True)
server.serve_forever()

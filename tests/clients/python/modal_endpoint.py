"""Stands in for Modal in the test of the whole chain: a web endpoint before a function with modal_function's decorator."""

import http.server
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../docs/clients/python"))

import modal_function  # noqa: E402


@modal_function.inference(model="llama-3.2-1b", gpu="A10G", region="us-east")
def generate(prompt):
    modal_function.tokens(input=812, output=97)
    return {"text": prompt.upper()}


class Endpoint(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
        body = json.dumps(generate(prompt, trace=self.headers)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = http.server.HTTPServer(("127.0.0.1", 0), Endpoint)
print(server.server_port, flush=True)
server.serve_forever()

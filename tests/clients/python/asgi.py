"""As much of an ASGI server as the tests need: one request a connection, the standard library only."""

import asyncio


def serve(app, announce):
    """Serves on a free port of loopback, which `announce` is told, until the process is ended."""

    async def main():
        server = await asyncio.start_server(lambda reader, writer: _answer(app, reader, writer), "127.0.0.1", 0)
        announce(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def call(app, method, path, headers=(), body=b""):
    """One request to an application; gives (status, headers, body)."""
    sent = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    return start["status"], start["headers"], b"".join(message.get("body", b"") for message in sent[1:])


async def _answer(app, reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = [tuple(part.strip() for part in line.split(":", 1)) for line in head[1:] if ":" in line]
    length = int({name.lower(): value for name, value in headers}.get("content-length", 0))
    status, answered, body = await call(app, method, path, headers, await reader.readexactly(length))
    lines = [f"HTTP/1.1 {status} -", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name.decode()}: {value.decode()}" for name, value in answered]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
    writer.close()

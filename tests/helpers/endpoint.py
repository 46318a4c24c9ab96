"""A server that answers as OpenAI's do, and whatever a test wants to go wrong."""

import http.client
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reply(text="B", finish="stop", **message):
    """Body of an ordinary reply; ``message`` overrides its parts."""
    logprobs = [{"token": token, "logprob": value} for token, value in (("B", -0.2), (" B", -3.0), ("A", -2.5))]
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "served-name",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish,
                "message": {"role": "assistant", "content": text, **message},
                "logprobs": {"content": [{"token": "B", "logprob": -0.2, "top_logprobs": logprobs}]},
            }
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42},
    }


@contextmanager
def served(answer, port=0):
    """Address of a server, by default on a free port, and the requests that it got.

    ``answer`` maps a request (its JSON) and how often the same one came before to a status, headers and a body (JSON,
    or bytes as they are); a status of None breaks the connection.
    """
    requests, times, lock = [], Counter(), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                key = json.dumps(asked["messages"])
                before, times[key] = times[key], times[key] + 1
                requests.append((asked, {name.lower(): value for name, value in self.headers.items()}))
            status, headers, body = answer(asked, before)
            if status is None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()  # at once, which the other side sees as a reset
                return
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.handle_error = lambda *_: None  # a client that has left
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def forwarded(to, delivered):
    """Address of a server that hands every question on to another one, and its reply back.

    ``delivered`` gets what was asked of each reply that reached the asker. Where the other server is away, or leaves
    in the middle of a reply, the connection breaks.
    """

    def answer(asked, before):
        request = urllib.request.Request(f"{to}/chat/completions", json.dumps(asked).encode())
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=30) as found:
                body = found.read()
        except urllib.error.HTTPError as error:
            return error.code, {}, error.read()
        except (OSError, http.client.HTTPException):
            return None, {}, b""
        delivered.append(json.dumps(asked["messages"]))
        return 200, {}, body

    with served(answer) as (url, _):
        yield url

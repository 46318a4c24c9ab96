"""A server that answers as OpenAI's do, and whatever a test wants to go wrong."""

import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def reply(text="B", finish="stop", **message):
    """Body of an ordinary reply; ``message`` overrides its parts."""
    logprobs = [{"token": token, "logprob": value} for token, value in (("B", -0.1), (" B", -3.0), ("A", -2.5))]
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
                "logprobs": {"content": [{"token": "B", "logprob": -0.1, "top_logprobs": logprobs}]},
            }
        ],
        "usage": {"prompt_tokens": 40, "completion_tokens": 2, "total_tokens": 42},
    }


@contextmanager
def served(answer):
    """Address of a server on a free port, and the requests that it got.

    ``answer`` maps a request (its JSON) and how often the same one came before to a status, headers and a body (JSON,
    or bytes as they are).
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
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

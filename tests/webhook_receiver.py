"""A receiver of webhooks, which may refuse the first messages."""

import hashlib
import hmac
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

SECRET = "webhook-" + "s" * 32


@dataclass
class Receiver:
    """Receives webhooks. `messages` were accepted, in order; `refused` were answered with an error."""

    url: str = ""
    n_refusals: int = 0
    status: int = 500
    messages: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def receiving(n_refusals: int = 0, status: int = 500) -> Iterator[Receiver]:
    """A receiver that runs until the context ends. It refuses the first messages, and all that are not
    signed.
    """
    receiver = Receiver(n_refusals=n_refusals, status=status)

    class Answering(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            signed = self.headers["Tessera-Timestamp"].encode() + b"." + body
            expected = "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            is_signed = hmac.compare_digest(expected, self.headers["Tessera-Signature"])
            message = json.loads(body)
            is_taken = is_signed and message["id"] == self.headers["Tessera-Id"] and not receiver.n_refusals
            receiver.n_refusals = max(0, receiver.n_refusals - 1)
            (receiver.messages if is_taken else receiver.refused).append(message)
            self.send_response(204 if is_taken else receiver.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answering) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/budgets"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()

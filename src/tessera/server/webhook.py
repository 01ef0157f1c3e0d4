"""Sends messages to a webhook: JSON by POST, signed with HMAC. Of a response, only the status counts."""

import hashlib
import hmac
import json
import time
import urllib.request
from collections.abc import Mapping
from email.message import Message
from http.client import HTTPException
from typing import IO
from urllib.error import URLError

ANSWER_S = 5.0


class WebhookFailed(Exception):
    """The message was not taken; the text says why, without the URL."""


class Webhook:
    """The receiver verifies `Tessera-Signature`: `v1=` and the HMAC-SHA256, in hexadecimal, of the text of
    `Tessera-Timestamp`, a dot and the body.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret.encode()
        self._opener = urllib.request.build_opener(_NoRedirects)

    def send(self, id: str, message: Mapping[str, object]) -> None:
        """Returns when the receiver has answered with a status of 2xx; raises `WebhookFailed`. Blocks."""
        body = json.dumps({"id": id, **message}).encode()
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "Tessera-Id": id,
            "Tessera-Timestamp": timestamp,
            "Tessera-Signature": sign(self._secret, timestamp, body),
        }
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - http or https
        try:
            with self._opener.open(request, timeout=ANSWER_S):
                return
        except (URLError, OSError, ValueError, HTTPException) as error:
            reason = getattr(error, "code", None) or getattr(error, "reason", None)
            raise WebhookFailed(str(reason or type(error).__name__)) from error


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature of a message."""
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret, signed, hashlib.sha256).hexdigest()


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is a failure: the message is for the configured address only."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        return None

"""Limits of requests and connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyLimits:
    """A body has at most `max_body_bytes`, and arrives within `body_deadline_s`."""

    max_body_bytes: int
    body_deadline_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits(BodyLimits):
    """After `keep_alive_s` of silence a stream sends a comment. A client that does not read for
    `send_deadline_s` is disconnected. A reply has `deadline_s` in all. Bodies that arrive or are being
    decoded may hold `account_body_bytes` for one account, and `priority_body_bytes` for all accounts of a
    priority.
    """

    account_body_bytes: int
    priority_body_bytes: int
    keep_alive_s: float
    send_deadline_s: float
    deadline_s: float

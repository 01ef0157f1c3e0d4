"""Limits of requests and connections."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """After `keep_alive_s` of silence a stream sends a comment. A client that does not read for
    `send_deadline_s` is disconnected. A reply has `deadline_s` in all. Bodies that arrive or are being
    decoded may hold `account_body_bytes` for one account, and `priority_body_bytes` for all accounts of a
    priority.
    """

    max_body_bytes: int = 8 * 2**20
    account_body_bytes: int = 16 * 2**20
    priority_body_bytes: int = 32 * 2**20
    body_deadline_s: float = 30.0
    keep_alive_s: float = 10.0
    send_deadline_s: float = 30.0
    deadline_s: float = 600.0

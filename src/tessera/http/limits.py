"""Limits of requests and connections."""

from dataclasses import dataclass

from tessera.settings import DEFAULTS

BODIES_PER_ACCOUNT = 2
BODIES_PER_PRIORITY = 4
"""Of the largest size: so many have room where no other budget is set."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """After `keep_alive_s` of silence a stream sends a comment. A client that does not read for
    `send_deadline_s` is disconnected. A reply has `deadline_s` in all. Bodies that arrive or are being
    decoded may hold `account_body_bytes` for one account, and `priority_body_bytes` for all accounts of a
    priority.
    """

    max_body_bytes: int = DEFAULTS.max_body_bytes
    account_body_bytes: int = BODIES_PER_ACCOUNT * DEFAULTS.max_body_bytes
    priority_body_bytes: int = BODIES_PER_PRIORITY * DEFAULTS.max_body_bytes
    body_deadline_s: float = DEFAULTS.body_deadline_s
    keep_alive_s: float = DEFAULTS.keep_alive_s
    send_deadline_s: float = DEFAULTS.send_deadline_s
    deadline_s: float = DEFAULTS.deadline_s

"""What a connection may cost."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """`keep_alive_s` of silence make a stream send a comment; a send that takes longer than
    `send_deadline_s` ends the connection of a client that does not read; a reply has `deadline_s` in all.
    Bodies that arrive or are being read may hold so many bytes for one account, and for all of a
    priority.
    """

    max_body_bytes: int = 8 * 2**20
    account_body_bytes: int = 16 * 2**20
    priority_body_bytes: int = 32 * 2**20
    body_deadline_s: float = 30.0
    keep_alive_s: float = 10.0
    send_deadline_s: float = 30.0
    deadline_s: float = 600.0

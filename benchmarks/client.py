"""A streaming chat client that costs next to nothing, so that the server is what is measured.

One request is one connection: the bytes are kept as they come and read after the clock has stopped. Loopback
only.
"""

import asyncio
import json
import re
import time
from dataclasses import dataclass

_FIRST_TEXT = re.compile(rb'"content": ?"[^"]')


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens, on the loopback interface, and the key it takes (empty: none)."""

    port: int
    api_key: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One reply: the tokens the server says it made, and the seconds to the first text and to the end."""

    prompt_tokens: int
    completion_tokens: int
    first_text_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """`streams` replies asked for at once. `took_s` runs from the first request to the last byte."""

    streams: int
    took_s: float
    samples: tuple[Sample, ...]

    @property
    def tokens_per_s(self) -> float:
        """Completion tokens of all streams over the wall time of the round."""
        return sum(sample.completion_tokens for sample in self.samples) / self.took_s


async def ask_together(target: Target, prompts: list[str], max_tokens: int, timeout_s: float) -> Round:
    """Send all prompts at once and wait for the last reply; raises `TimeoutError`, `RuntimeError`."""
    started = time.perf_counter()
    async with asyncio.timeout(timeout_s):
        samples = await asyncio.gather(*(_ask(target, prompt, max_tokens) for prompt in prompts))
    return Round(len(prompts), time.perf_counter() - started, tuple(samples))


async def _ask(target: Target, prompt: str, max_tokens: int) -> Sample:
    started, first_text_s, received = time.perf_counter(), 0.0, bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", target.port)
    writer.write(_request(target, prompt, max_tokens))
    while block := await reader.read(1 << 16):
        received += block
        if not first_text_s and _FIRST_TEXT.search(received):
            first_text_s = time.perf_counter() - started
    total_s = time.perf_counter() - started
    writer.close()
    usage = _usage(bytes(received))
    return Sample(usage["prompt_tokens"], usage["completion_tokens"], first_text_s or total_s, total_s)


def _request(target: Target, prompt: str, max_tokens: int) -> bytes:
    body = json.dumps(
        {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{target.port}\r\n"
        f"Authorization: Bearer {target.api_key}\r\n"
        "Content-Type: application/json\r\n"
        "Connection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _usage(response: bytes) -> dict[str, int]:
    head, _, body = response.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"The server said no: {response[:600]!r}")
    if b"chunked" in head.lower():
        body = _unchunk(body)
    events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: {")]
    reported = [event["usage"] for event in events if event.get("usage")]
    if not reported:
        raise RuntimeError(f"The stream ended without its usage: {body[-600:]!r}")
    return reported[-1]


def _unchunk(body: bytes) -> bytes:
    parts, at = list[bytes](), 0
    while (end := body.find(b"\r\n", at)) >= 0:
        size = int(body[at:end].split(b";")[0], 16)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(parts)

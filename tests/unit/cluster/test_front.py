import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Message

from tessera.cluster.front import build_front
from tessera.cluster.plan import ServedModel
from tessera.cluster.upstream import Outgoing, ReplicaLost
from tessera.core.events import Completed, Finished, FinishReason, TextDelta
from tessera.core.usage import Usage
from tessera.http.limits import BodyLimits
from tessera.wire.reply import Header
from tessera.wire.stream import KEEP_ALIVE, ChunkWriter

pytestmark = pytest.mark.anyio

LARGE = ServedModel("s.large", ("large", "big"), may_sleep=False)
SMALL = ServedModel("s.small", ("small",), may_sleep=False)
ASLEEP = ServedModel("s.asleep", ("asleep",), may_sleep=True)
LIMITS = BodyLimits(max_body_bytes=10_000, body_deadline_s=10)
KEY = [(b"authorization", b"Bearer k"), (b"content-type", b"application/json")]
WORDS = ("one ", "two ", "three")


@dataclass
class Turn:
    """What a replica answers, and whether it is lost after that."""

    parts: Sequence[bytes] = ()
    is_lost: bool = False
    status: int = 200
    is_stream: bool = True
    headers: Sequence[tuple[bytes, bytes]] = (
        (b"content-type", b"text/event-stream"),
        (b"connection", b"close"),
    )

    async def parts_of(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            yield part
        if self.is_lost:
            raise ReplicaLost


class Answer:
    def __init__(self, turn: Turn) -> None:
        self.status, self.headers, self.is_stream = turn.status, turn.headers, turn.is_stream
        self.parts = turn.parts_of


@dataclass
class Scripted:
    """`Replicas` that answer in turns; what they were asked is kept."""

    turns: list[Turn]
    asked_for: list[tuple[str, Outgoing]] = field(default_factory=list[tuple[str, Outgoing]])

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    @asynccontextmanager
    async def asked(self, application: str, outgoing: Outgoing) -> AsyncGenerator[Answer]:
        self.asked_for.append((application, outgoing))
        yield Answer(self.turns.pop(0))


def frames(*words: str, done: bool = True) -> list[bytes]:
    writer = ChunkWriter(Header("chatcmpl-1", 7, "large"), lambda _: b"")
    made = [writer.write([TextDelta(0, word)]) for word in words]
    if done:
        made += [writer.write([Finished(0, FinishReason.STOP)]), writer.write([Completed(Usage(1, 0, 3, 0))])]
    return made


WHOLE = frames(*WORDS)


async def send(
    turns: list[Turn],
    body: object = None,
    *,
    models: Sequence[ServedModel] = (LARGE, SMALL, ASLEEP),
    path: str = "/v1/chat/completions",
    headers: Sequence[tuple[bytes, bytes]] = KEY,
) -> tuple[int, bytes, Scripted]:
    """Status and body of the front's answer, and its replicas."""
    replicas = Scripted(turns)
    sent: list[Message] = []
    encoded = b"" if body is None else json.dumps(body).encode()
    messages = [{"type": "http.request", "body": encoded, "more_body": False}]

    async def receive() -> Message:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def keep(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET" if body is None else "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [*headers, (b"content-length", b"%d" % len(encoded))],
        "client": ("192.0.2.1", 5),
    }
    await build_front(models, replicas, LIMITS)(scope, receive, keep)
    assert not sent[-1].get("more_body", False)
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:]), replicas


def chat(**fields: object) -> dict[str, object]:
    return {"model": "large", "messages": [{"role": "user", "content": "Hello"}], "stream": True, **fields}


def text(body: bytes) -> str:
    payloads = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: {")]
    chunks = [json.loads(each) for each in payloads]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ())
    )


def whole(body: object, status: int = 200) -> Turn:
    return Turn([json.dumps(body).encode()], False, status, False, [(b"content-type", b"application/json")])


@pytest.mark.parametrize(
    ("model", "application"),
    [("large", "s.large"), ("big", "s.large"), ("small", "s.small"), (None, "s.large")],
)
async def test_the_model_is_found_by_its_names(model: str | None, application: str) -> None:
    status, body, replicas = await send([Turn(WHOLE)], chat(model=model))
    assert (status, body) == (200, b"".join(WHOLE))
    ((asked, outgoing),) = replicas.asked_for
    assert asked == application
    assert (outgoing.method, outgoing.path, outgoing.client) == ("POST", "/v1/chat/completions", "192.0.2.1")
    assert json.loads(outgoing.body)["messages"] == chat()["messages"]
    assert dict(outgoing.headers)["authorization"] == "Bearer k"
    assert len(outgoing.hashes) == 1


async def test_bytes_pass_in_whole_frames_as_they_come() -> None:
    data = b"".join(WHOLE)
    parts = [KEEP_ALIVE, *(data[at : at + 7] for at in range(0, len(data), 7))]
    _, body, _ = await send([Turn(parts)], chat())
    assert body == KEEP_ALIVE + data


async def test_what_the_client_has_not_seen_is_asked_again_under_the_same_name() -> None:
    reply = {"id": "chatcmpl-1"}
    turns = [Turn(is_lost=True), Turn([b'{"id"'], is_lost=True, is_stream=False), whole(reply)]
    status, body, replicas = await send(turns, chat(stream=False))
    assert (status, json.loads(body)) == (200, reply)
    assert len({outgoing.reply for _, outgoing in replicas.asked_for}) == 1
    assert len(replicas.asked_for) == 3


async def test_a_replica_that_is_lost_again_and_again_is_an_error() -> None:
    status, body, _ = await send([Turn(is_lost=True)] * 9, chat())
    assert (status, json.loads(body)["error"]["code"]) == (503, "replica_lost")


async def test_a_stream_that_said_nothing_yet_is_asked_again() -> None:
    _, body, _ = await send([Turn([KEEP_ALIVE, WHOLE[0][:9]], is_lost=True), Turn(WHOLE)], chat())
    assert body == KEEP_ALIVE + b"".join(WHOLE)


@pytest.mark.parametrize("fields", [{"seed": 1}, {"temperature": 0}])
@pytest.mark.parametrize("n_sent", range(1, len(WHOLE)))
async def test_a_seeded_or_greedy_stream_goes_on(fields: dict[str, object], n_sent: int) -> None:
    again = frames("on", "e two th", "ree")
    _, body, _ = await send([Turn(WHOLE[:n_sent], is_lost=True), Turn(again)], chat(**fields))
    assert text(body) == "".join(WORDS)
    assert body.endswith(b"data: [DONE]\n\n")
    assert body.count(b'"finish_reason":"stop"') == body.count(b'"role"') == 1


async def test_another_stream_ends_with_an_error() -> None:
    status, body, replicas = await send([Turn(WHOLE[:2], is_lost=True), Turn(WHOLE)], chat())
    assert status == 200
    assert text(body) == "one two "
    assert b'"code":"replica_lost"' in body
    assert len(replicas.asked_for) == 1


@pytest.mark.parametrize(
    "again", [Turn(frames("one ", "other")), Turn(frames("one")), whole({"error": {}}, 429)]
)
async def test_a_stream_that_does_not_come_again_ends_with_an_error(again: Turn) -> None:
    _, body, _ = await send([Turn(WHOLE[:2], is_lost=True), again], chat(seed=1))
    assert text(body) == "one two "
    assert b'"code":"replica_lost"' in body
    assert b"[DONE]" not in body


async def test_a_replica_that_is_lost_after_its_last_frame_is_no_loss() -> None:
    _, body, replicas = await send([Turn(WHOLE, is_lost=True)], chat())
    assert body == b"".join(WHOLE)
    assert len(replicas.asked_for) == 1


async def test_an_unknown_model_is_refused_with_the_names_that_the_key_may_use() -> None:
    listed = [whole({"data": [{"id": "large"}]}), whole({"data": []})]
    status, body, _ = await send(listed, chat(model="other"))
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")
    assert "Send one of: large, asleep." in json.loads(body)["error"]["message"]
    refused = whole({"error": {"code": "invalid_api_key"}}, 401)
    assert (await send([refused], chat(model="other")))[0] == 401


async def test_a_card_comes_from_the_model_itself() -> None:
    status, _, replicas = await send([whole({"id": "small"})], path="/v1/models/small")
    assert status == 200
    assert [(name, outgoing.path) for name, outgoing in replicas.asked_for] == [
        ("s.small", "/v1/models/small")
    ]
    status, body, _ = await send([whole({"data": []}), whole({"data": []})], path="/v1/models/no/such")
    assert (status, json.loads(body)["error"]["code"]) == (404, "model_not_found")


async def test_all_models_are_listed_and_none_is_woken() -> None:
    cards = [whole({"data": [{"id": "large"}, {"id": "big"}]}), whole({"data": [{"id": "small"}]})]
    status, body, replicas = await send(cards, path="/v1/models")
    assert status == 200
    assert [card["id"] for card in json.loads(body)["data"]] == ["large", "big", "small", "asleep"]
    assert [application for application, _ in replicas.asked_for] == ["s.large", "s.small"]


async def test_an_only_model_answers_for_itself() -> None:
    one = (ServedModel("s.model", (), may_sleep=True),)
    for path, body in (
        ("/v1/models", None),
        ("/v1/chat/completions", chat(model="other")),
        ("/docs/en/", None),
    ):
        status, _, replicas = await send([whole({}, 404)], body, models=one, path=path)
        assert status == 404
        assert [(name, outgoing.path) for name, outgoing in replicas.asked_for] == [("s.model", path)]


async def test_a_request_without_a_key_is_refused_by_a_replica_without_its_body() -> None:
    headers = [(b"content-type", b"application/json"), (b"x-tessera-relayed", b"forged")]
    status, _, replicas = await send([whole({}, 401)], chat(), headers=headers)
    assert status == 401
    ((_, outgoing),) = replicas.asked_for
    assert outgoing.body == b""
    assert [name for name, _ in outgoing.headers] == ["content-type", "x-request-id"]


async def test_a_body_that_is_too_large_is_refused() -> None:
    status, body, replicas = await send([], chat(user="x" * 20_000))
    assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
    assert replicas.asked_for == []

import json

import pytest

from tessera.wire.glance import Glance, glance


def test_a_request_says_its_model_and_its_messages() -> None:
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Yes?"}]
    seen = glance(json.dumps({"model": "mine", "messages": messages, "tools": [{"type": "x"}]}).encode())
    assert seen.model == "mine"
    assert [json.loads(each) for each in seen.messages] == messages
    assert json.loads(seen.before) == [{"type": "x"}]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, False),
        ({"temperature": 0}, True),
        ({"temperature": 0.0}, True),
        ({"temperature": 0.1}, False),
        ({"seed": 0}, True),
        ({"seed": None}, False),
        ({"seed": 7, "logprobs": True}, False),
        ({"seed": "7"}, False),
    ],
)
def test_a_greedy_or_seeded_request_is_repeatable(fields: dict[str, object], expected: bool) -> None:
    assert glance(json.dumps({"messages": [], **fields}).encode()).is_repeatable is expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'{"model": 7, "messages": {}}', b"[" * 9999])
def test_a_body_that_makes_no_sense_says_nothing(body: bytes) -> None:
    assert glance(body) == Glance()

"""What a schema costs too much for, while its reply is made: an error of its own, which is final."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.conftest import Serve, Served
from tests.scripts import CAN_ALL

from tessera.core.generation import Prompt
from tessera.engine.scripted.engine import ScriptedTokenizer, cycling, failing, saying
from tessera.errors import GrammarFailed, GrammarTooSlow
from tessera.formats.hermes import HERMES
from tessera.grammars.checker import GrammarCheck

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
FAILURES = pytest.mark.parametrize(
    ("error", "code"),
    [(GrammarFailed("It fails."), "grammar_failed"), (GrammarTooSlow("It is slow."), "grammar_too_slow")],
)
# Each level of a value is looked at twice as often as the one above.
DOUBLING = {"properties": {"a": {"$ref": "#/$defs/d"}}}
SCHEMA = {"$ref": "#/$defs/d", "$defs": {"d": {"type": "object", "allOf": [DOUBLING, DOUBLING]}}}
DEAR, CHEAP = ('{"a": ' * n + "{}" + "}" * n for n in (40, 1))


@pytest.fixture
def retrying(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key=served.key, max_retries=2) as client:
        yield client


def create(client: openai.OpenAI, **fields: Any) -> Any:
    return client.chat.completions.create(model="tessera/scripted", messages=HELLO, **fields)


class Counted:
    """An engine that plays a script and counts its generations."""

    def __init__(self, script: Any) -> None:
        self.script, self.n = script, 0

    def __call__(self, prompt: Prompt, sequence: int) -> Any:
        self.n += 1
        return self.script(prompt, sequence)


@FAILURES
@pytest.mark.parametrize("stream", [False, True])
def test_it_is_422_and_the_client_does_not_try_again(
    served: Served, retrying: openai.OpenAI, error: Exception, code: str, stream: bool
) -> None:
    served.engine.script = counted = Counted(failing(cycling(served.tokenizer), error, after=0))
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        create(retrying, stream=stream)
    assert (caught.value.code, caught.value.type) == (code, "invalid_request_error")
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert counted.n == 1
    served.wait_until_idle()


@FAILURES
@pytest.mark.parametrize("stream", [False, True])
def test_it_is_the_same_after_the_first_token(
    served: Served, retrying: openai.OpenAI, error: Exception, code: str, stream: bool
) -> None:
    served.engine.script = counted = Counted(failing(cycling(served.tokenizer), error, after=2))
    with pytest.raises(openai.APIError) as caught:
        for _ in create(retrying, stream=stream):
            pass
    assert (caught.value.code, caught.value.type) == (code, "invalid_request_error")
    assert isinstance(caught.value, openai.UnprocessableEntityError) is not stream
    assert counted.n == 1
    served.wait_until_idle()


def test_a_reply_that_cannot_be_validated_in_time_is_422_and_the_server_goes_on(serve: Serve) -> None:
    control = ScriptedTokenizer().control_tokens
    checks = GrammarCheck(control, 300, HERMES.syntax, deadline_s=300, wait_s=300)
    served = serve(grammars=checks, features=CAN_ALL)
    asked: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}}
    url = f"{served.url}/v1"
    with openai.OpenAI(base_url=url, api_key=served.key, max_retries=2, timeout=300) as client:
        served.engine.script = counted = Counted(saying(served.tokenizer, DEAR))
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            create(client, response_format=asked)
        assert (caught.value.code, counted.n) == ("grammar_failed", 1)
        served.engine.script = saying(served.tokenizer, CHEAP)
        assert create(client, response_format=asked).choices[0].message.content == CHEAP
    served.wait_until_idle()


# Rules that only the check of a finished reply knows, each with a value that breaks it.
NOT_ENFORCED: dict[str, tuple[Any, str]] = {
    "not": ({"not": {"type": "integer"}}, "5"),
    "not, inside": ({"properties": {"a": {"not": {"const": 1}}}}, '{"a": 1}'),
    "if": ({"if": {"type": "integer"}, "then": {"minimum": 9}}, "5"),
    "else": ({"if": {"type": "string"}, "then": True, "else": False}, "5"),
    "contains": ({"type": "array", "contains": {"type": "string"}}, "[5]"),
    "items that are unique": ({"type": "array", "uniqueItems": True}, "[5, 5]"),
    "what depends on others": ({"dependentRequired": {"a": ["b"]}}, '{"a": 1}'),
    "a constant too large for a grammar": ({"const": "x" * 150_000}, '"x"'),
    "a constant that a reader rounds": ({"const": 2**60}, "5"),
    "branches that overlap": ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, "5"),
}


@pytest.mark.parametrize("stream", [False, True])
def test_a_rule_that_is_not_enforced_is_not_tried_again(serve: Any, stream: bool) -> None:
    control = ScriptedTokenizer().control_tokens
    checks = GrammarCheck(control, 300, HERMES.syntax, deadline_s=300, wait_s=300)
    served = serve(grammars=checks, features=CAN_ALL)
    url = f"{served.url}/v1"
    with openai.OpenAI(base_url=url, api_key=served.key, max_retries=2, timeout=300) as client:
        for name, (schema, said) in NOT_ENFORCED.items():
            served.engine.script = counted = Counted(saying(served.tokenizer, said))
            form: Any = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
            with pytest.raises(openai.APIError) as caught:
                list(create(client, response_format=form, stream=stream))
            assert (caught.value.code, counted.n) == ("schema_not_met", 1), name
            assert caught.value.type == "invalid_request_error"
            if isinstance(caught.value, openai.APIStatusError):
                assert caught.value.status_code == 422
                assert caught.value.response.headers["x-should-retry"] == "false"
    served.wait_until_idle()

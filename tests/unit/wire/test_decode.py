import json
from dataclasses import dataclass
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.strategies import examples

from tessera.core.chat import (
    AnyJsonObject,
    AssistantMessage,
    ChatRequest,
    FreeText,
    JsonSchema,
    Mode,
    SystemMessage,
    ToolCall,
    ToolChoice,
    ToolMessage,
    UserMessage,
)
from tessera.errors import RequestError, TesseraError, UnsupportedParameter
from tessera.wire.decode import REFUSED, WITHOUT_EFFECT, ReplyOptions, decode_request
from tessera.wire.request import Request

USER = {"role": "user", "content": "Hi"}


def tool(name: str = "look", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **function}}


def body(**fields: Any) -> bytes:
    return json.dumps({"messages": [USER], **fields}).encode()


def request(**fields: Any) -> ChatRequest:
    return decode_request(body(**fields))[0]


def refusal(**fields: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        decode_request(body(**fields))
    return caught.value


def nested(depth: int, leaf: Any = 1) -> Any:
    for _ in range(depth):
        leaf = {"x": leaf}
    return leaf


def test_the_least_request() -> None:
    decoded, options = decode_request(body())
    assert decoded == ChatRequest((UserMessage("Hi"),))
    assert options == ReplyOptions()


@dataclass(frozen=True)
class Range:
    """Values at the edges of a field, inside and outside."""

    field: str
    takes: tuple[Any, ...]
    refuses: tuple[Any, ...]


WRONG_TYPES = ("1", True, [], {})
RANGES = [
    Range("temperature", (0, 0.0, 2, 1.5, None), (-0.01, 2.01, *WRONG_TYPES)),
    Range("top_p", (0, 0.0, 0.001, 1, None), (1.01, -0.01, *WRONG_TYPES)),
    Range("top_k", (-1, 0, 1, 10**6, None), (-2, 1.5, 10**30, *WRONG_TYPES)),
    Range("min_p", (0, 1, 0.5, None), (-0.01, 1.01, *WRONG_TYPES)),
    Range("presence_penalty", (-2, 2, 0, None), (-2.01, 2.01, *WRONG_TYPES)),
    Range("frequency_penalty", (-2, 2, 0, None), (-2.01, 2.01, *WRONG_TYPES)),
    Range("repetition_penalty", (0.01, 2, None), (0, 1e-300, 0.0099, 2.01, -1, *WRONG_TYPES)),
    Range("seed", (-(2**63), 2**63 - 1, 0, None), (-(2**63) - 1, 2**63, 1.5, 1e300, *WRONG_TYPES)),
    Range("n", (1, 8, None), (0, 9, -1, 10**9, 1.5, *WRONG_TYPES)),
    Range("max_tokens", (1, 2**31, -1, None), (0, -2, 1.5, 10**400, *WRONG_TYPES)),
    Range("max_completion_tokens", (1, 2**31, -1, None), (0, -2, 1.5, *WRONG_TYPES)),
    Range("thinking_token_budget", (0, 1, 2**31, -1, None), (-2, 1.5, *WRONG_TYPES)),
    Range("thinking_budget", (0, 1, 2**31, -1, None), (-2, 1.5, *WRONG_TYPES)),
    Range("enable_thinking", (True, False, None), (1, "false", "true", [], {})),
    Range("model", ("a", "a" * 256, None), ("a" * 257, 1, True, [])),
    Range("stream", (True, False, None), (1, "true", [])),
    Range("logprobs", (True, False, None), (1, "true", 5)),
    Range("parallel_tool_calls", (True, False, None), (0, "false")),
    Range(
        "stop",
        ("a", "é" * 256, [], ["a"] * 4, ["é" * 256], "", [""], ["", *["a"] * 4, ""], None),
        ("a" * 257, ["a"] * 5, ["a" * 257], [1], 1, {}),
    ),
    Range(
        "logit_bias",
        ({}, {"0": -100, str(2**31 - 1): 100}, {str(i): 1 for i in range(300)}, None),
        (
            {str(i): 1 for i in range(301)},
            {"0": 100.01},
            {"0": -100.01},
            {"-1": 1},
            {str(2**31): 1},
            {str(10**30): 1},
            {"x": 1},
            {"01": 1},
            {"1": "1"},
            {"1": True},
            [],
            1,
        ),
    ),
    Range("modalities", ([], ["text"], None), (["audio"], ["text", "audio"], "text")),
    Range(
        "response_format",
        ({"type": "text"}, {"type": "json_object"}, None),
        ({"type": "grammar"}, {"type": "json_schema"}, {}, "json_object", []),
    ),
    Range(
        "chat_template_kwargs",
        ({}, {"enable_thinking": True}, {"enable_thinking": None, "preserve_thinking": False}, None),
        ({"enable_thinking": "false"}, {"enable_thinking": 0}, {"preserve_thinking": "x"}, []),
    ),
    Range(
        "messages",
        ([USER], [USER] * 2048),
        ([], [USER] * 2049, None, {}, "hi", [1], [{"role": "user"}], [{"content": "x"}], [[]]),
    ),
    Range(
        "tools",
        ([], [tool(f"t{i}") for i in range(128)], None),
        ([tool(f"t{i}") for i in range(129)], {}, [1]),
    ),
]


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(r.field, v, id=f"{r.field}-{i}") for r in RANGES for i, v in enumerate(r.takes)],
)
def test_a_value_within_the_range_is_taken(field: str, value: Any) -> None:
    request(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [pytest.param(r.field, v, id=f"{r.field}-{i}") for r in RANGES for i, v in enumerate(r.refuses)],
)
def test_a_value_outside_the_range_is_400_and_names_the_field(field: str, value: Any) -> None:
    error = refusal(**{field: value})
    assert error.status == 400
    assert error.type == "invalid_request_error"
    assert error.param is not None
    assert error.param.startswith(field)
    assert error.param in error.message


@pytest.mark.parametrize("field", ["temperature", "top_p", "seed", "max_tokens", "n"])
@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e400", "-1e400", "9" * 5000])
def test_numbers_that_are_none_are_400(field: str, literal: str) -> None:
    with pytest.raises(RequestError):
        decode_request(
            b'{"messages":[{"role":"user","content":"Hi"}],"%b":%b}' % (field.encode(), literal.encode())
        )


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"messages":',
        b"{'messages': []}",
        b'\xef\xbb\xbf{"messages":[]}',
        b'{"messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"\\udc00\\ud800"}]}',
        b'{"messages":[{"role":"user","content":"\xff"}]}',
        b'{"messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
        b'{"messages":[{"role":"user","content":"a\nb"}]}',
        b'{"messages":[{"role":"user","content":"Hi"}]} x',
        b'{"\\ud800":1,"messages":[{"role":"user","content":"Hi"}]}',
        b'{"zzz":' + b"[" * 100_000,
        b'{"zzz":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"[" * 100_000,
        b'{"tools":' + b'[{"a":' * 50_000,
    ],
)
def test_what_is_not_json_is_400(text: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode_request(text)
    assert caught.value.status == 400
    assert len(caught.value.message) < 400


@given(
    st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
@examples(200)
def test_any_bytes_decode_or_are_refused(text: bytes) -> None:
    with pytest.raises(RequestError):
        decode_request(text)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab1", max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("type", max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = sorted(
    {r.field for r in RANGES}
    | {"stream_options", "tool_choice", "top_logprobs"}
    | WITHOUT_EFFECT
    | set(REFUSED)
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
@examples(300)
def test_any_fields_decode_or_are_refused(fields: dict[str, Any]) -> None:
    error = outcome(fields)
    assert error is None or error.status == 400
    assert error is None or (error.param or "messages").split(".")[0].split("[")[0] in {*fields, "messages"}


def outcome(fields: dict[str, Any]) -> TesseraError | None:
    try:
        decode_request(body(**fields))
    except TesseraError as error:
        return error
    return None


def test_of_a_field_sent_twice_the_last_counts() -> None:
    decoded, _ = decode_request(
        b'{"n":1,"messages":[{"role":"user","content":"Hi"}],"model":"a","n":2,"model":"b"}'
    )
    assert (decoded.model, decoded.n) == ("b", 2)


def test_options_of_the_reply() -> None:
    _, options = decode_request(
        body(stream=True, stream_options={"include_usage": True}, model="m", foo=1, bar=None)
    )
    assert options == ReplyOptions(stream=True, include_usage=True, ignored=("foo", "bar"))
    _, options = decode_request(body(stream=True, stream_options={"include_obfuscation": False}))
    assert options == ReplyOptions(stream=True)


@pytest.mark.parametrize("stream", [None, False])
def test_stream_options_need_stream(stream: bool | None) -> None:
    assert refusal(stream=stream, stream_options={"include_usage": True}).param == "stream_options"


@pytest.mark.parametrize("field", sorted(WITHOUT_EFFECT))
@pytest.mark.parametrize("value", ["x", 1, {"a": [1]}, None, "high"])
def test_fields_without_effect_take_any_value_and_are_not_listed(field: str, value: Any) -> None:
    decoded, options = decode_request(body(**{field: value}))
    assert decoded == request()
    assert options.ignored == ()


@pytest.mark.parametrize("field", ["metadata", "user", "zzz"])
@pytest.mark.parametrize(
    ("value", "code"),
    [
        (b"1e999", "invalid_value"),
        (b'{"a":[-1e999]}', "invalid_value"),
        (b'"\\ud800"', "invalid_json"),
        (b'"\xff\xfe"', "invalid_json"),
        (b'{"\xed\xa0\x80":1}', "invalid_json"),
        (b"[" * 66 + b"]" * 66, "invalid_json"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, "invalid_json"),
    ],
)
def test_what_is_ignored_is_strict_json_too(field: str, value: bytes, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        decode_request(b'{"%b":%b,"messages":[{"role":"user","content":"Hi"}]}' % (field.encode(), value))
    assert caught.value.code == code
    assert (caught.value.param or field).startswith(field)


def test_what_is_ignored_may_be_as_deep_as_what_is_read() -> None:
    assert outcome({"metadata": nested(64), "zzz": nested(64)}) is None
    error = outcome({"zzz": nested(66)})
    assert error is not None
    assert (error.param, error.message) == ("zzz", "'zzz' is nested too deeply: at most 64 levels.")


def test_what_is_ignored_is_not_huge() -> None:
    assert outcome({"prediction": "x" * 1_000_000, "metadata": {"a": [0] * 90_000}}) is None
    error = outcome({"metadata": {"a": [[]] * 60_000}})
    assert error is not None
    assert error.param == "metadata"
    assert error.message == (
        "'metadata' has no effect here, and such fields have more than 100,000 values: leave it out."
    )


@pytest.mark.slow
@pytest.mark.parametrize("n", [99_000, 101_000])
def test_many_fields_without_effect_are_counted_together(n: int) -> None:
    error = outcome({f"field-{i}": [] for i in range(n // 2)})
    assert (error is not None) is (n > 100_000)
    error = outcome({f"field-{i}": 1 for i in range(n)})
    assert (error is not None) is (n > 100_000)


def test_bytes_that_are_not_utf8_are_refused_wherever_they_are() -> None:
    with pytest.raises(RequestError) as caught:
        decode_request(b'{"messages":[{"role":"user","content":"Hi","zzz":"\xff"}]}')
    assert caught.value.code == "invalid_json"


@pytest.mark.parametrize("field", [*sorted(REFUSED), "guided_whatever"])
def test_fields_that_must_not_be_ignored_are_400(field: str) -> None:
    error = refusal(**{field: {"a": 1}})
    assert isinstance(error, UnsupportedParameter)
    assert error.param == field
    assert decode_request(body(**{field: None}))[0] == request() if field in REFUSED else True


def test_sampling_takes_zero_for_zero() -> None:
    sampling = request(temperature=0, top_k=0, min_p=0, presence_penalty=0, seed=0).sampling
    assert (
        sampling.temperature,
        sampling.top_k,
        sampling.min_p,
        sampling.presence_penalty,
        sampling.seed,
    ) == (0, 0, 0, 0, 0)
    assert sampling.top_p is None


def test_top_k_minus_one_is_off() -> None:
    assert request(top_k=-1).sampling.top_k == 0


def test_logit_bias_is_by_token_id() -> None:
    assert request(logit_bias={"7": -1.5}).sampling.logit_bias == {7: -1.5}


def test_max_completion_tokens_wins() -> None:
    assert request(max_tokens=5).max_output_tokens == 5
    assert request(max_tokens=5, max_completion_tokens=7).max_output_tokens == 7


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"logprobs": False}, None),
        ({"top_logprobs": 0}, None),
        ({"top_logprobs": 0, "logprobs": False}, None),
        ({"top_logprobs": None, "logprobs": True}, 0),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 0}, 0),
        ({"logprobs": True, "top_logprobs": 20}, 20),
    ],
)
def test_logprobs(fields: dict[str, Any], expected: int | None) -> None:
    assert request(**fields).top_logprobs == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"top_logprobs": 1},
        {"top_logprobs": 1, "logprobs": False},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": -1, "logprobs": True},
        {"top_logprobs": True, "logprobs": True},
    ],
)
def test_top_logprobs_out_of_range_or_alone(fields: dict[str, Any]) -> None:
    assert refusal(**fields).param == "top_logprobs"


def test_thinking_is_opted_into() -> None:
    assert request().mode is Mode.DIRECT
    assert request(chat_template_kwargs={"enable_thinking": False}).mode is Mode.DIRECT
    thinking = request(
        chat_template_kwargs={"enable_thinking": True, "preserve_thinking": True}, thinking_token_budget=9
    )
    assert (thinking.mode, thinking.preserve_thinking, thinking.thinking_budget_tokens) == (
        Mode.THINKING,
        True,
        9,
    )


class TestMessages:
    def read(self, *messages: Any) -> tuple[Any, ...]:
        return request(messages=list(messages)).messages

    def refuse(self, *messages: Any) -> str | None:
        return refusal(messages=list(messages)).param

    def test_instructions_are_merged_into_the_leading_one(self) -> None:
        read = self.read(
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "b"}], "name": "x"},
            {"role": "assistant", "content": "ok"},
            {"role": "system", "content": "c"},
        )
        assert read == (SystemMessage("a\n\nb\n\nc"), UserMessage("Hi"), AssistantMessage("ok"))

    def test_text_parts_are_joined(self) -> None:
        parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {}}]
        assert self.read({"role": "user", "content": parts, "name": "Ann"}) == (UserMessage("ab"),)

    @pytest.mark.parametrize("kind", ["image_url", "input_audio", "video_url", "file", "x" * 1000])
    def test_parts_that_are_not_text_are_400(self, kind: str) -> None:
        error = refusal(
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": kind, kind: {"url": "http://x"}}],
                }
            ]
        )
        assert isinstance(error, UnsupportedParameter)
        assert error.param == "messages[0].content[1]"
        assert len(error.message) < 300

    def test_content_of_the_wrong_shape_is_400(self) -> None:
        assert self.refuse({"role": "user", "content": None}) == "messages[0].content"
        assert self.refuse({"role": "user", "content": 3}) == "messages[0].content"
        assert self.refuse({"role": "user", "content": [{"type": "text"}]}) == "messages[0].content[0].text"
        assert (
            self.refuse({"role": "user", "content": [{"type": "text", "text": 1}]})
            == "messages[0].content[0].text"
        )
        assert self.refuse({"role": "system", "content": None}) == "messages[0].content"
        assert self.refuse({"role": "user"}) == "messages[0].content"

    @pytest.mark.parametrize("role", ["function", "tool ", "User", "", 1, None])
    def test_an_unknown_role_is_400(self, role: Any) -> None:
        assert self.refuse(USER, {"role": role, "content": "x"}) == "messages[1].role"

    @pytest.mark.parametrize(
        ("message", "read"),
        [
            ({"role": "user", "content": []}, UserMessage("")),
            ({"role": "user", "content": ["a", {"type": "text", "text": "b"}]}, UserMessage("ab")),
            ({"role": "user", "content": [{"text": "a"}]}, UserMessage("a")),
            ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, UserMessage("a")),
            ({"role": "user", "content": "a", "id": "m1", "createdAt": 1, "parts": []}, UserMessage("a")),
            ({"role": "assistant", "content": []}, AssistantMessage("")),
            (
                {"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
                AssistantMessage("a"),
            ),
            (
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "r", "signature": "x"},
                        {"type": "text", "text": "a"},
                    ],
                },
                AssistantMessage("a", "r"),
            ),
            (
                {
                    "role": "assistant",
                    "content": [{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": "a"}],
                },
                AssistantMessage("a"),
            ),
            (
                {"role": "assistant", "content": [{"type": "reasoning", "text": "r"}], "reasoning": "s"},
                AssistantMessage("", "s"),
            ),
            (
                {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.text"}]},
                AssistantMessage("a"),
            ),
            ({"role": "tool", "tool_call_id": "c", "content": None}, ToolMessage("", "c")),
            ({"role": "tool", "tool_call_id": "c"}, ToolMessage("", "c")),
            ({"role": "tool", "tool_call_id": "c", "content": [], "name": "look"}, ToolMessage("", "c")),
            (
                {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "42"}]},
                ToolMessage("42", "c"),
            ),
        ],
    )
    def test_messages_in_the_shapes_that_clients_send(self, message: Any, read: Any) -> None:
        assert self.read(USER, message) == (UserMessage("Hi"), read)

    @pytest.mark.parametrize("role", ["system", "developer", "assistant"])
    def test_no_user_is_needed(self, role: str) -> None:
        assert len(self.read({"role": role, "content": "x"})) == 1

    def test_a_call_and_its_result(self) -> None:
        call = {
            "id": "c1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"b": 1, "a": [null]}'},
        }
        read = self.read(
            USER,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "unknown", "content": "42"},
        )
        assert read[1:] == (
            AssistantMessage("", None, (ToolCall("c1", "look", '{"b": 1, "a": [null]}'),)),
            ToolMessage("42", "unknown"),
        )

    def arguments(self, *sent: Any) -> str:
        function = {"name": "look", **({"arguments": sent[0]} if sent else {})}
        return (
            self.read(USER, {"role": "assistant", "tool_calls": [{"function": function}]})[1]
            .tool_calls[0]
            .arguments
        )

    @pytest.mark.parametrize("sent", ["", " ", "\n\t ", "null", " null\n", None, {}, "{}", " {} "])
    def test_no_arguments_are_an_empty_object(self, sent: Any) -> None:
        assert self.arguments(sent) == self.arguments() == "{}"

    @pytest.mark.parametrize(
        "text",
        [
            '{"a": 1.50, "b": 1e5, "c": 12345678901234567890123}',
            '{"city": "Le',
            "{",
            "[]",
            "1",
            "hello",
            '{"a":NaN}',
            '{"a":1e400}',
            '{"a":"\\ud800"}',
            json.dumps(nested(66)),
            "[" * 10**5,
            '{"a":' * 10**5,
            '"',
            '"x"',
        ],
    )
    def test_arguments_are_kept_as_they_were_sent(self, text: str) -> None:
        assert self.arguments(text) == text

    def test_arguments_that_were_encoded_once_or_thrice_are_read(self) -> None:
        assert self.arguments({"b": 1, "a": "é"}) == '{"b":1,"a":"é"}'
        assert self.arguments(json.dumps('{"a": 1}')) == '{"a": 1}'

    @pytest.mark.parametrize(
        "sent", [1, True, [], nested(66)], ids=["number", "boolean", "array", "too deep"]
    )
    def test_arguments_that_are_neither_text_nor_an_object_are_400(self, sent: Any) -> None:
        call = {"id": "c", "function": {"name": "look", "arguments": sent}}
        param = self.refuse(USER, {"role": "assistant", "tool_calls": [call]})
        assert param == "messages[1].tool_calls[0].function.arguments"

    @pytest.mark.parametrize(
        "more", [{"index": 0}, {"type": None}, {"type": "function"}, {"id": None}, {"extra_content": {}}]
    )
    def test_calls_in_the_shapes_that_clients_send(self, more: Any) -> None:
        call = {"function": {"name": "look", "arguments": "{}"}, **more}
        for content in ({}, {"content": ""}, {"content": None}):
            said = {"role": "assistant", "tool_calls": [call], **content}
            assert self.read(USER, said)[1] == AssistantMessage("", None, (ToolCall("", "look", "{}"),))

    def test_reasoning_by_either_name(self) -> None:
        read = self.read(
            USER,
            {"role": "assistant", "content": "a", "reasoning": "r"},
            {"role": "assistant", "content": "a", "reasoning": "r", "reasoning_content": "c"},
            {"role": "assistant", "content": None, "reasoning": "cut"},
        )
        assert [message.reasoning for message in read[1:]] == ["r", "c", "cut"]

    @pytest.mark.parametrize("said", [{}, {"content": None}, {"content": None, "tool_calls": []}])
    def test_an_assistant_may_have_said_nothing(self, said: dict[str, Any]) -> None:
        """As in a reply that ended at once; the official client in Go leaves a null out."""
        assert self.read(USER, {"role": "assistant", **said}, USER)[1] == AssistantMessage("")

    def test_a_message_of_the_official_client_is_taken_back(self) -> None:
        echoed = {
            "role": "assistant",
            "content": "a",
            "refusal": None,
            "annotations": [],
            "audio": None,
            "function_call": None,
            "tool_calls": None,
        }
        assert self.read(USER, echoed)[1] == AssistantMessage("a")
        refused = {"role": "assistant", "content": None, "refusal": "no"}
        assert self.read(USER, refused)[1] == AssistantMessage("no")

    @pytest.mark.parametrize(
        ("message", "field", "instead"),
        [
            (
                {"role": "assistant", "content": "", "function_call": {"name": "look", "arguments": "{}"}},
                ".function_call",
                "Send 'tool_calls'",
            ),
            ({"role": "assistant", "audio": {"id": "audio_1"}}, ".audio", "as text in 'content'"),
            ({"role": "function", "name": "look", "content": "42"}, ".role", "role tool"),
            (
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]},
                ".tool_calls[0].type",
                '"type": "function"',
            ),
            (
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": 1}}],
                },
                ".tool_calls[0].function.arguments",
                "the JSON text of an object",
            ),
            ({"role": "user", "content": None}, ".content", 'parts {"type": "text"'),
            ({"role": "user", "content": [{"type": "text", "text": 1}]}, ".content[0].text", "parts"),
        ],
    )
    def test_what_is_not_taken_is_400_and_says_what_to_send(
        self, message: Any, field: str, instead: str
    ) -> None:
        error = refusal(messages=[USER, message])
        assert error.param == f"messages[1]{field}"
        assert instead in error.message
        assert ("Roles are" in error.message) is (field == ".role")

    def test_a_tool_message_names_its_call(self) -> None:
        assert self.refuse(USER, {"role": "tool", "content": "x"}) == "messages[1].tool_call_id"


class TestTools:
    def test_a_tool_is_kept_as_it_was_sent(self) -> None:
        sent = tool("look", description="d", parameters={"z": 1.0, "a": [1]}, strict=True, extra=None)
        (read,) = request(tools=[sent]).tools
        assert (read.name, read.parameters, read.strict) == ("look", {"z": 1.0, "a": [1]}, True)
        assert json.dumps(read.definition) == json.dumps(sent)

    def test_absent_parameters_are_none_needed(self) -> None:
        (read,) = request(tools=[tool(parameters=None)]).tools
        assert (read.parameters, read.strict) == ({"type": "object", "additionalProperties": False}, False)

    @pytest.mark.parametrize("name", ["", "a" * 65, "a b", "a.b", "é", "a\n", 1, None])
    def test_names_are_well_formed(self, name: Any) -> None:
        assert refusal(tools=[tool(name)]).param == "tools[0].function.name"

    def test_names_of_64_are_taken(self) -> None:
        assert request(tools=[tool("a" * 64)]).tools[0].name == "a" * 64

    def test_names_differ(self) -> None:
        assert refusal(tools=[tool(), tool()]).param == "tools[1].function.name"

    @pytest.mark.parametrize(
        ("sent", "param"),
        [
            ({"type": "custom", "custom": {"name": "x"}}, "tools[0].type"),
            ({"type": "web_search"}, "tools[0].type"),
            ({"name": "x"}, "tools[0].type"),
            ({"type": "function"}, "tools[0].function"),
            ({"type": "function", "function": {}}, "tools[0].function.name"),
            (tool(parameters=[]), "tools[0].function.parameters"),
            (tool(parameters="{}"), "tools[0].function.parameters"),
            (tool(strict="yes"), "tools[0].function.strict"),
            (tool(parameters=nested(65)), "tools[0]"),
        ],
    )
    def test_other_things_are_400(self, sent: Any, param: str) -> None:
        assert refusal(tools=[sent]).param == param

    def test_depth_up_to_the_limit_is_taken(self) -> None:
        request(tools=[tool(parameters=nested(62))])
        assert refusal(tools=[tool(parameters=nested(63))]).code == "invalid_json"

    @pytest.mark.parametrize(
        ("choice", "expected"),
        [
            (None, ToolChoice()),
            ("none", ToolChoice("none")),
            ("auto", ToolChoice("auto")),
            ("required", ToolChoice("required")),
            (
                {"type": "function", "function": {"name": "b"}},
                ToolChoice("required", frozenset("b"), named=True),
            ),
            (
                {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [tool("a"), tool("b")]},
                },
                ToolChoice("required", frozenset("ab")),
            ),
            (
                {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("a")]}},
                ToolChoice("auto", frozenset("a")),
            ),
        ],
    )
    def test_choices(self, choice: Any, expected: ToolChoice) -> None:
        assert request(tools=[tool("a"), tool("b"), tool("c")], tool_choice=choice).tool_choice == expected

    @pytest.mark.parametrize(
        "choice",
        [
            "some",
            {"type": "custom", "custom": {"name": "a"}},
            {},
            {"type": "function"},
            {"type": "function", "name": "zz"},
            {"type": "function", "function": {"name": "zz"}},
            {"type": "allowed_tools"},
            {"type": "allowed_tools", "mode": "auto"},
            {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [tool("a")]}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
            {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("zz")]}},
            True,
            [],
        ],
    )
    def test_choices_that_are_none_are_400(self, choice: Any) -> None:
        error = refusal(tools=[tool("a")], tool_choice=choice)
        assert (error.param or "").startswith("tool_choice")

    @pytest.mark.parametrize(
        ("choice", "same_as"),
        [
            ("any", "required"),
            ({"type": "any"}, "required"),
            ({"type": "required"}, "required"),
            ({"type": "auto"}, "auto"),
            ({"type": "none"}, "none"),
            ("a", {"type": "function", "function": {"name": "a"}}),
            ({"type": "function", "name": "a"}, {"type": "function", "function": {"name": "a"}}),
            ({"type": "tool", "name": "a"}, {"type": "function", "function": {"name": "a"}}),
            ({"function": {"name": "a"}}, {"type": "function", "function": {"name": "a"}}),
            ({"name": "a"}, {"type": "function", "function": {"name": "a"}}),
            (
                {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "a"}]},
                {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tool("a")]}},
            ),
        ],
    )
    def test_choices_in_other_words(self, choice: Any, same_as: Any) -> None:
        tools = [tool("a"), tool("b")]
        expected = request(tools=tools, tool_choice=same_as).tool_choice
        assert request(tools=tools, tool_choice=choice).tool_choice == expected

    @pytest.mark.parametrize("tools", [None, []])
    @pytest.mark.parametrize(
        "choice",
        ["required", "any", "a", {"type": "function", "function": {"name": "a"}}, {"type": "required"}],
    )
    def test_a_call_that_must_be_made_needs_tools(self, tools: Any, choice: Any) -> None:
        assert (refusal(tools=tools, tool_choice=choice).param or "").startswith("tool_choice")

    @pytest.mark.parametrize("tools", [None, []])
    @pytest.mark.parametrize("choice", ["none", "auto", None, {"type": "auto"}])
    def test_a_choice_that_asks_for_no_call_needs_none(self, tools: Any, choice: Any) -> None:
        assert request(tools=tools, tool_choice=choice, parallel_tool_calls=False).tools == ()

    @pytest.mark.parametrize(
        "sent",
        [
            {"function": {"name": "look", "parameters": {}}},
            {"type": None, "function": {"name": "look", "parameters": {}}},
            {"type": "function", "name": "look", "parameters": {}},
        ],
    )
    def test_a_tool_in_another_shape_stands_in_the_prompt_as_any_other(self, sent: Any) -> None:
        (read,) = request(tools=[sent]).tools
        assert read.definition == {"type": "function", "function": {"name": "look", "parameters": {}}}


class TestFormat:
    def schema(self, **named: Any) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": named}

    def test_formats(self) -> None:
        assert request(response_format={"type": "text"}).answer_format == FreeText()
        assert request(response_format={"type": "json_object"}).answer_format == AnyJsonObject()
        sent = self.schema(name="n", schema={"type": "object"}, strict=True, description="d")
        assert request(response_format=sent).answer_format == JsonSchema("n", {"type": "object"}, True)
        assert request(response_format=self.schema(name="n", schema=False)).answer_format == JsonSchema(
            "n", False
        )

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ({"type": "json_object", "schema": {"type": "array"}}, JsonSchema("", {"type": "array"})),
            ({"type": "json_object", "response_schema": {"type": "null"}}, JsonSchema("", {"type": "null"})),
            ({"type": "json_object", "schema": None}, AnyJsonObject()),
            ({"type": "json_object", "schema": {}}, AnyJsonObject()),
            ({"type": "json_schema", "schema": {"type": "array"}}, JsonSchema("", {"type": "array"})),
            (
                {"type": "json_schema", "name": "n", "schema": {"type": "array"}, "strict": True},
                JsonSchema("n", {"type": "array"}, True),
            ),
            (
                {"type": "json_schema", "json_schema": {"schema": {"type": "array"}, "strict": None}},
                JsonSchema("", {"type": "array"}),
            ),
            (
                {"type": "json_schema", "json_schema": {"name": "Movie review", "schema": {"type": "array"}}},
                JsonSchema("Movie review", {"type": "array"}),
            ),
        ],
    )
    def test_formats_in_other_shapes(self, sent: Any, expected: Any) -> None:
        assert request(response_format=sent).answer_format == expected

    def test_a_schema_beside_json_object_may_not_be_too_deep(self) -> None:
        deep = {"type": "json_object", "schema": nested(65)}
        assert refusal(response_format=deep).param == "response_format.schema"

    @pytest.mark.parametrize("kind", ["json_object", "json_schema"])
    def test_stop_has_no_effect_on_json_and_is_listed(self, kind: str) -> None:
        sent = {"type": kind, "schema": {"type": "object"}}
        decoded, options = decode_request(body(response_format=sent, stop=["\n", ""], zzz=1))
        assert (decoded.stop, options.ignored) == ((), ("zzz", "stop"))
        assert decode_request(body(response_format=sent, stop=""))[1].ignored == ()
        assert request(response_format={"type": "text"}, stop="x").stop == ("x",)

    @pytest.mark.parametrize(
        ("named", "param"),
        [
            ({"name": "n"}, "schema"),
            ({"name": 1, "schema": {}}, "name"),
            ({"name": "n", "schema": []}, "schema"),
            ({"name": "n", "schema": "{}"}, "schema"),
            ({"name": "n", "schema": {}, "strict": 1}, "strict"),
            ({"name": "n", "schema": nested(65)}, "schema"),
        ],
    )
    def test_schemas_that_are_none_are_400(self, named: dict[str, Any], param: str) -> None:
        assert refusal(response_format=self.schema(**named)).param == f"response_format.json_schema.{param}"


WHOLE_NUMBERS = [
    *(
        "seed",
        "n",
        "max_tokens",
        "max_completion_tokens",
        "top_k",
        "thinking_token_budget",
        "thinking_budget",
    ),
    "top_logprobs",
]


@pytest.mark.parametrize("field", WHOLE_NUMBERS)
@given(number=st.integers(1, 7), spelling=st.sampled_from(["{}.0", "{}.000", "{}e0", "{}0e-1", "{}0.0E-1"]))
def test_a_whole_number_may_be_written_with_a_point(field: str, number: int, spelling: str) -> None:
    def read(literal: str) -> ChatRequest:
        return decode_request(
            b'{"messages":[{"role":"user","content":"Hi"}],"logprobs":true,"%b":%b}'
            % (field.encode(), literal.encode())
        )[0]

    decoded = read(spelling.format(number))
    assert decoded == read(str(number))
    assert ".0" not in repr(decoded)
    with pytest.raises(RequestError, match="expected `int`") as caught:
        read(f"{number}.5")
    assert caught.value.param == field


def test_every_whole_number_is_among_them() -> None:
    """A field that is added later may be forgotten."""
    hints = get_type_hints(Request)
    assert {name for name, hint in hints.items() if int in _members(hint)} == set(WHOLE_NUMBERS)
    assert all(float in _members(hints[name]) for name in WHOLE_NUMBERS)


def _members(hint: Any) -> set[Any]:
    return {hint} | {
        each for part in get_args(hint) for each in _members(part) if get_origin(hint) is not dict
    }


def test_minus_one_is_no_limit_of_its_own() -> None:
    assert request(max_tokens=-1).max_output_tokens is None
    assert request(max_completion_tokens=-1, max_tokens=5).max_output_tokens == 5
    assert request(max_completion_tokens=-1.0).max_output_tokens is None
    assert refusal(max_completion_tokens=0, max_tokens=5).param == "max_completion_tokens"
    assert refusal(max_completion_tokens=7, max_tokens=0).param == "max_tokens"
    assert request(thinking_token_budget=-1).thinking_budget_tokens is None
    assert request(thinking_token_budget=-1, thinking_budget=0).thinking_budget_tokens == 0


def test_thinking_in_the_words_of_dashscope() -> None:
    sent = request(enable_thinking=True, thinking_budget=9)
    same = request(chat_template_kwargs={"enable_thinking": True}, thinking_token_budget=9)
    assert sent == same
    longer = request(
        enable_thinking=True,
        thinking_budget=9,
        chat_template_kwargs={"enable_thinking": False},
        thinking_token_budget=0,
    )
    assert (longer.mode, longer.thinking_budget_tokens) == (Mode.DIRECT, 0)
    assert request(enable_thinking=True, chat_template_kwargs={"enable_thinking": None}).mode is Mode.THINKING


def test_what_is_ignored_inside_of_a_field_is_listed_with_a_dot() -> None:
    _, options = decode_request(
        body(
            zzz=1,
            chat_template_kwargs={"enable_thinking": True, "clear_thinking": False, "add_vision_id": [1]},
            stream=True,
            stream_options={"include_usage": True, "continuous_usage_stats": True},
            response_format={"type": "json_object", "description": "x", "grammar": ""},
        )
    )
    assert options.ignored == (
        "zzz",
        "chat_template_kwargs.clear_thinking",
        "chat_template_kwargs.add_vision_id",
        "stream_options.continuous_usage_stats",
        "response_format.grammar",
    )
    assert options.include_usage


@pytest.mark.parametrize("value", [b"1e999", b'"\\ud800"', b"[" * 70 + b"]" * 70])
def test_what_is_ignored_inside_of_a_field_is_strict_json(value: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        decode_request(
            b'{"chat_template_kwargs":{"x":%b},"messages":[{"role":"user","content":"Hi"}]}' % value
        )
    assert (caught.value.param or "chat_template_kwargs").startswith("chat_template_kwargs")


@pytest.mark.parametrize(
    ("field", "value"),
    [("functions", []), ("function_call", "auto"), ("function_call", "none"), ("audio", None)],
)
def test_a_refused_field_that_asks_for_nothing_is_taken(field: str, value: Any) -> None:
    decoded, options = decode_request(body(**{field: value}))
    assert (decoded, options.ignored) == (request(), ())


def test_a_byte_order_mark_is_no_part_of_the_body() -> None:
    assert decode_request(b"\xef\xbb\xbf" + body())[0] == request()
    with pytest.raises(RequestError, match="not valid JSON"):
        decode_request(b"\xef\xbb\xbf" * 2 + body())


def test_messages_say_what_to_send() -> None:
    assert refusal(messages=None).message.startswith("Invalid 'messages': expected `array`, got `null`.")
    assert "enable_thinking" in refusal(chat_template_kwargs={"preserve_thinking": 1}).message
    with pytest.raises(RequestError, match="Missing required parameter: 'messages'"):
        decode_request(b"{}")
    assert refusal(n=9).message == "Invalid 'n': expected `int` <= 8."

"""The body of POST /v1/chat/completions, field by field, with OpenAI's names and the ranges of each.

Types are strict: neither `true` nor `"1"` is 1. But 16.0 is 16, since JSON has one type of number. `null`
means absent, as it does for OpenAI. What a struct cannot express (uniqueness, references between fields) is
checked in `decode`, `messages` and `tools`.

Many clients leave out what OpenAI's API requires, or use the spelling of another of its APIs. Where their
meaning is certain, it is accepted.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

JsonDict: TypeAlias = dict[str, Any]
"""An object of any JSON: `core.chat.JsonObject`, which msgspec cannot decode since it is recursive."""

StopText: TypeAlias = Annotated[str, Meta(max_length=256)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]

# A whole number may be sent with a decimal point. It is then a float until it is read.
_LARGEST = 2**63 - 1
_LARGEST_FLOAT = 2**63 - 2**10  # the next one is 2**63
IndexOrOff: TypeAlias = (
    Annotated[int, Meta(ge=-1, le=_LARGEST)] | Annotated[float, Meta(ge=-1, le=_LARGEST_FLOAT, multiple_of=1)]
)
Int64: TypeAlias = (
    Annotated[int, Meta(ge=-(2**63), le=_LARGEST)]
    | Annotated[float, Meta(ge=-(2**63), le=_LARGEST_FLOAT, multiple_of=1)]
)
ChoiceCount: TypeAlias = Annotated[int, Meta(ge=1, le=8)] | Annotated[float, Meta(ge=1, le=8, multiple_of=1)]
LogprobCount: TypeAlias = (
    Annotated[int, Meta(ge=0, le=20)] | Annotated[float, Meta(ge=0, le=20, multiple_of=1)]
)


# The range is checked key by key: with integers beyond 61 bits, a client could choose keys that all collide.
TokenId: TypeAlias = Annotated[int, Meta(ge=0, lt=2**31)]


class Part(Struct):
    """A piece of a message's content: text, and an assistant's `refusal` or `thinking`."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    thinking: str | None = None


Content: TypeAlias = str | list[str | Part]


class System(Struct, tag_field="role", tag="system"):
    """Instructions."""

    content: Content
    name: str | None = None


class Developer(Struct, tag_field="role", tag="developer"):
    """The newer name of `system`."""

    content: Content
    name: str | None = None


class User(Struct, tag_field="role", tag="user"):
    """A turn of the person."""

    content: Content
    name: str | None = None


class CalledFunction(Struct):
    """`arguments` is the JSON text of an object; some clients send the object itself, or nothing."""

    name: str
    arguments: str | JsonDict | None = None


class Call(Struct):
    """A call the model made earlier."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] | None = None


class Assistant(Struct, tag_field="role", tag="assistant"):
    """A turn of the model; `reasoning` is read where `reasoning_content` is absent."""

    content: Content | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    name: str | None = None
    function_call: None = None  # to ignore any other value would lose what the model said
    audio: None = None


class ToolResult(Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    tool_call_id: str
    content: Content | None = None


Message: TypeAlias = System | Developer | User | Assistant | ToolResult


class Function(Struct):
    """A function the model may call."""

    name: str
    description: str | None = None
    parameters: JsonDict | None = None
    strict: bool | None = None


class ToolDefinition(Struct):
    """`function` is the only type there is here."""

    type: str | None = None
    function: Function | None = None


class FunctionName(Struct):
    """A function, by name."""

    name: str


class NamedFunction(Struct):
    """A function, by its name: OpenAI's two APIs put the name in different places."""

    type: Literal["function"] | None = None
    function: FunctionName | None = None
    name: str | None = None


class AllowedTools(Struct):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Meta(min_length=1, max_length=128)]


class ToolChoice(Struct):
    """What `tool_choice` may be, if it is not just a word: one function, some of the tools, or the word."""

    type: Literal["function", "tool", "allowed_tools", "auto", "none", "required", "any"] | None = None
    function: FunctionName | None = None
    name: str | None = None
    allowed_tools: AllowedTools | None = None
    mode: Literal["auto", "required"] | None = None
    tools: Annotated[list[NamedFunction], Meta(min_length=1, max_length=128)] | None = None


class TextFormat(Struct, tag_field="type", tag="text"):
    """No constraint."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object, or with a `schema` what validates against it: the shorthands of other servers."""

    schema: JsonDict | bool | None = None
    response_schema: JsonDict | bool | None = None


class NamedSchema(Struct):
    """A schema; `true` and `false` are schemas too. The name is for the client alone."""

    schema: JsonDict | bool
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON that validates. The fields of `json_schema` may stand beside it, as in OpenAI's other API."""

    json_schema: NamedSchema | None = None
    schema: JsonDict | bool | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


Format: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StreamOptions(Struct):
    """`include_obfuscation` is accepted and has no effect."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TemplateKwargs(Struct):
    """The variables of a template that a client may set; others are ignored."""

    enable_thinking: bool | None = None
    preserve_thinking: bool | None = None


class Request(Struct, kw_only=True):
    """Every field that has an effect."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=2048)]
    model: Annotated[str, Meta(max_length=256)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: IndexOrOff | None = None
    max_tokens: IndexOrOff | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: IndexOrOff | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.01, le=2)] | None = None
    seed: Int64 | None = None
    n: ChoiceCount | None = None
    stop: StopText | list[StopText] | None = None
    logprobs: bool | None = None
    top_logprobs: LogprobCount | None = None
    logit_bias: (
        Annotated[dict[TokenId, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=300)] | None
    ) = None
    tools: Annotated[list[JsonDict], Meta(max_length=128)] | None = None
    tool_choice: str | ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    enable_thinking: bool | None = None
    thinking_token_budget: IndexOrOff | None = None
    thinking_budget: IndexOrOff | None = None
    modalities: list[Literal["text"]] | None = None

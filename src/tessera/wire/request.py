"""The body of POST /v1/chat/completions, field by field, with OpenAI's names and the ranges of each.

Types are strict: `true` is not 1 and `"1"` is not 1. `null` means absent, as it does for OpenAI. What a
struct cannot say (uniqueness, references between fields) is checked in `decode`, `messages` and `tools`.
"""

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

JsonDict: TypeAlias = dict[str, Any]
"""An object of any JSON; `Any` because msgspec has no recursive type. `core.chat.JsonObject` elsewhere."""

StopText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=256)]
Penalty: TypeAlias = Annotated[float, Meta(ge=-2, le=2)]
PositiveInt: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Int64: TypeAlias = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Part(Struct):
    """A piece of a message's content; only `text` (and an assistant's `refusal`) can be read here."""

    type: str
    text: str | None = None
    refusal: str | None = None


Content: TypeAlias = str | Annotated[list[Part], Meta(min_length=1)]


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
    """`arguments` is the JSON text of an object."""

    name: str
    arguments: str


class Call(Struct):
    """A call the model made earlier."""

    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class Assistant(Struct, tag_field="role", tag="assistant"):
    """A turn of the model; `reasoning` is read where `reasoning_content` is absent."""

    content: Content | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None
    name: str | None = None
    function_call: None = None  # with anything in it, ignoring it would lose what the model said
    audio: None = None


class ToolResult(Struct, tag_field="role", tag="tool"):
    """What a tool answered."""

    content: Content
    tool_call_id: str


Message: TypeAlias = System | Developer | User | Assistant | ToolResult


class Function(Struct):
    """A function the model may call."""

    name: str
    description: str | None = None
    parameters: JsonDict | None = None
    strict: bool | None = None


class ToolDefinition(Struct):
    """`function` is the only type there is here."""

    type: str
    function: Function | None = None


class FunctionName(Struct):
    """A function, by name."""

    name: str


class FunctionChoice(Struct, tag_field="type", tag="function"):
    """This function and no other."""

    function: FunctionName


class AllowedFunction(Struct):
    """One of the allowed ones."""

    function: FunctionName
    type: Literal["function"] = "function"


class AllowedTools(Struct):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[AllowedFunction], Meta(min_length=1, max_length=128)]


class AllowedToolsChoice(Struct, tag_field="type", tag="allowed_tools"):
    """Only these tools."""

    allowed_tools: AllowedTools


Choice: TypeAlias = Literal["none", "auto", "required"] | FunctionChoice | AllowedToolsChoice


class TextFormat(Struct, tag_field="type", tag="text"):
    """No constraint."""


class JsonObjectFormat(Struct, tag_field="type", tag="json_object"):
    """Any JSON object."""


class NamedSchema(Struct):
    """A schema; `true` and `false` are schemas too."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
    schema: JsonDict | bool
    description: str | None = None
    strict: bool | None = None


class JsonSchemaFormat(Struct, tag_field="type", tag="json_schema"):
    """JSON that validates."""

    json_schema: NamedSchema


Format: TypeAlias = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StreamOptions(Struct):
    """`include_obfuscation` is accepted and has no effect."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class TemplateKwargs(Struct, forbid_unknown_fields=True):
    """An allow-list: what else a template could be given is not the client's to set."""

    enable_thinking: bool | None = None
    preserve_thinking: bool | None = None


class Request(Struct, kw_only=True):
    """Every field that has an effect."""

    messages: Annotated[list[Message], Meta(min_length=1, max_length=2048)]
    model: Annotated[str, Meta(max_length=256)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_completion_tokens: PositiveInt | None = None
    max_tokens: PositiveInt | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**63 - 1)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    seed: Int64 | None = None
    n: Annotated[int, Meta(ge=1, le=8)] | None = None
    stop: StopText | Annotated[list[StopText], Meta(max_length=4)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    logit_bias: Annotated[dict[int, Annotated[float, Meta(ge=-100, le=100)]], Meta(max_length=300)] | None = (
        None
    )
    tools: Annotated[list[JsonDict], Meta(max_length=128)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    chat_template_kwargs: TemplateKwargs | None = None
    thinking_token_budget: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    modalities: list[Literal["text"]] | None = None

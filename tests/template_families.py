"""The families whose prompts their own templates write, with their templates and control tokens."""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tests.families import Family
from tests.templates import choose_format

from tessera.formats.base import ChatFormat
from tessera.formats.template_families import TEMPLATE_FAMILIES
from tessera.parsing.syntax import Tags

TEMPLATES = Path(__file__).parent / "conformance" / "formats" / "templates"
_DEEPSEEK = (
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<think>",
    "</think>",
    *(
        f"<｜tool▁{part}▁{end}｜>"
        for part in ("calls", "call", "outputs", "output")
        for end in ("begin", "end")
    ),
    "<｜tool▁sep｜>",
)
_MISTRAL = (
    "<s>",
    "[INST]",
    "[/INST]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_CALLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CONTENT]",
    "[CALL_ID]",
    "[ARGS]",
    "[THINK]",
    "[/THINK]",
)
_HEADERS = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>")
_LLAMA = (*_HEADERS, "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>")
_KIMI = (
    *(f"<|im_{name}|>" for name in ("system", "user", "assistant", "middle", "end")),
    *(f"<|tool_call_{name}|>" for name in ("begin", "argument_begin", "end")),
    *(f"<|tool_calls_section_{name}|>" for name in ("begin", "end")),
)
GEMMA4_TAGS = (
    *(
        f"{begin}{name}{end}"
        for name in ("tool_call", "channel")
        for begin, end in (("<|", ">"), ("<", "|>"))
    ),
    '<|"|>',
)
_GEMMA4 = (
    "<bos>",
    "<|turn>",
    "<|think|>",
    "<|tool>",
    "<tool|>",
    "<|tool_response>",
    "<tool_response|>",
    *GEMMA4_TAGS,
)
_CHATML = ("<|im_start|>", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


@dataclass(frozen=True)
class Templated:
    """A template of a family, and the control tokens of a model that has it."""

    family: str
    file: str
    control: tuple[str, ...]
    eos: str
    bos: str = ""

    @property
    def source(self) -> str:
        return (TEMPLATES / f"{self.file}.jinja").read_text().removesuffix("\n")

    @cache  # noqa: B019 - there are few of them
    def format(self) -> ChatFormat:
        """The format that the service chooses for it."""
        control = (*self.control, self.eos)
        return choose_format(self.source, control_tokens=control, eos=self.eos, bos=self.bos)


_DEEPSEEK_ENDS = "<｜end▁of▁sentence｜>", "<｜begin▁of▁sentence｜>"
TEMPLATED = (
    Templated("llama3", "llama3", _LLAMA, "<|eot_id|>", "<|begin_of_text|>"),
    Templated("mistral-v3-tekken", "mistral-nemo", _MISTRAL, "</s>", "<s>"),
    Templated("mistral-v11", "mistral-v11", _MISTRAL, "</s>", "<s>"),
    Templated("mistral-v13", "ministral-3", _MISTRAL, "</s>", "<s>"),
    Templated("deepseek-v3", "deepseek-r1", _DEEPSEEK, *_DEEPSEEK_ENDS),
    Templated("deepseek-v3.1", "deepseek-v3.1", _DEEPSEEK, *_DEEPSEEK_ENDS),
    Templated("kimi-k2", "kimi-k2", _KIMI, "<|im_end|>"),
    Templated("gemma4", "gemma4", _GEMMA4, "<turn|>", "<bos>"),
    Templated("tagged-xml", "qwen3-coder", _CHATML, "<|im_end|>"),
)
_REASONING = {"[TOOL_CALLS]": Tags("[THINK]", "[/THINK]")}


def _families() -> list[Family]:
    """Each family with a form of calls, once with its tags as control tokens and once as text."""
    found: list[Family] = []
    for name, family in TEMPLATE_FAMILIES.items():
        syntax = family.syntax
        if syntax.form is None or syntax.call is None:
            continue
        written = next(each for each in TEMPLATED if each.family.split("-")[0] == name.split("-")[0])
        made = written.format()
        reasoning = _REASONING.get(syntax.call.open, Tags("<think>", "</think>"))
        chat_format = replace(
            made, name=name, syntax=replace(syntax, ends=made.syntax.ends, reasoning=reasoning)
        )
        tags = {*syntax.form.tags, syntax.call.open, syntax.call.close, *_reasoning_tags(chat_format)} - {""}
        found += [
            Family(name, chat_format, frozenset({*tags, written.eos})),
            Family(f"{name}-text", chat_format, frozenset({written.eos})),
        ]
    return found


def _reasoning_tags(chat_format: ChatFormat) -> tuple[str, ...]:
    tags = chat_format.syntax.reasoning
    return (tags.open, tags.close) if tags else ()


FRAMED_FAMILIES = tuple(_families())
"""The families whose calls are JSON between fixed texts."""

_GEMMA4_FORMAT = next(each for each in TEMPLATED if each.family == "gemma4").format()
GEMMA4_TOKENS = Family("gemma4", _GEMMA4_FORMAT, frozenset({*GEMMA4_TAGS, "<turn|>"}))
GEMMA4_TEXT = Family("gemma4-text", _GEMMA4_FORMAT, frozenset({"<turn|>"}))
GEMMA4_FAMILIES = (GEMMA4_TOKENS, GEMMA4_TEXT)

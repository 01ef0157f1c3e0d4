"""The kinds of requests, as a table.

The same seed gives the same questions; within a run, no two questions are equal.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

Body: TypeAlias = dict[str, object]

_WORDS_PER_TOKEN = 0.69  # of such text, with the tokenizers of SmolLM2 and Qwen3.6
_HEROES = (
    "clockmaker", "fisherman", "young queen", "retired spy", "lost robot", "baker", "cartographer", "wolf",
    "lighthouse keeper", "violin player", "ship's cook", "beekeeper", "mountain guide", "librarian",
)  # fmt: skip
_PLACES = (
    "on an island", "in a city under the sea", "on a night train", "in the mountains of the moon",
    "at the end of a long war", "in a village without clocks", "by a frozen river",
)  # fmt: skip
_CITIES = (
    "Lima", "Oslo", "Kyoto", "Sevilla", "Accra", "Lyon", "Porto", "Turin", "Leeds", "Bergen", "Cusco",
)  # fmt: skip
_GOODS = ("lamps", "maps", "kettles", "chairs", "books", "tents", "mirrors", "boots", "clocks", "ropes")
_ADJECTIVES = ("old", "quiet", "narrow", "bright", "heavy", "green", "broken", "early", "distant", "plain")
_VERBS = ("carried", "sold", "counted", "repaired", "lost", "painted", "traded", "found", "kept", "moved")

_TOOLS = [
    {
        "type": "function",
        "function": {"name": name, "description": description, "parameters": parameters},
    }
    for name, description, parameters in (
        (
            "get_weather",
            "The weather of a city on a day.",
            {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer", "minimum": 1, "maximum": 14},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                },
                "required": ["city", "days", "unit"],
                "additionalProperties": False,
            },
        ),
        (
            "place_order",
            "Order goods from the warehouse of a city.",
            {
                "type": "object",
                "properties": {
                    "article": {"type": "string", "enum": list(_GOODS)},
                    "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
                    "city": {"type": "string"},
                },
                "required": ["article", "quantity", "city"],
                "additionalProperties": False,
            },
        ),
    )
]
_ORDER_SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 40},
        "urgent": {"type": "boolean"},
        "items": {
            "type": "array",
            "minItems": 1,
            "maxItems": 4,
            "items": {
                "type": "object",
                "properties": {
                    "article": {"type": "string", "enum": list(_GOODS)},
                    "quantity": {"type": "integer", "minimum": 1, "maximum": 1000},
                },
                "required": ["article", "quantity"],
                "additionalProperties": False,
            },
        },
        "note": {"type": "string", "maxLength": 80},
    },
    "required": ["city", "urgent", "items", "note"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a question in a run; it is unique."""

    seed: int
    n_streams: int
    turn: int
    stream: int
    index: int

    @property
    def label(self) -> str:
        """Begins the question. Its first digits are random, so that no prefix cache has them."""
        return f"{self.dice().randrange(10**6):06}-{self._path}"

    def dice(self) -> random.Random:
        """Random numbers that are the same in every run with this seed."""
        return random.Random(f"{self.seed} {self._path}")  # noqa: S311 - prompts are no secrets

    @property
    def _path(self) -> str:
        return f"{self.n_streams}-{self.turn}-{self.stream}-{self.index}"


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of request. `ask` takes the position and the approximate number of tokens of a long prompt.

    `max_tokens` bounds the reply, unless the run has a bound of its own.
    """

    name: str
    meaning: str
    max_tokens: int
    ask: Callable[[Position, int], Body]

    def body(self, place: Position, prompt_tokens: int, max_tokens: int | None) -> Mapping[str, object]:
        """The whole body without the model: greedy, streamed, with the usage at the end."""
        return {
            **self.ask(place, prompt_tokens),
            "max_tokens": max_tokens or self.max_tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }


def _chat(place: Position, prompt_tokens: int) -> Body:
    dice = place.dice()
    return _said(
        f"Story {place.label}. Tell a very long story in twelve chapters about a "
        f"{dice.choice(_HEROES)} {dice.choice(_PLACES)}. Describe everything in detail and do not stop "
        "before the last chapter."
    )


def _long(place: Position, prompt_tokens: int) -> Body:
    report = _report(place.dice(), prompt_tokens)
    return _said(f"Report {place.label}.\n\n{report}\n\nSum up the report in one sentence.")


def _prefix(place: Position, prompt_tokens: int) -> Body:
    shared = _shared_report(place.seed, prompt_tokens)
    dice = place.dice()
    question = f"Question {place.label}: who {dice.choice(_VERBS)} the {dice.choice(_GOODS)}? One sentence."
    return _said(question, system=f"You answer from this report, number {place.seed}.\n\n{shared}")


def _tools(place: Position, prompt_tokens: int) -> Body:
    dice = place.dice()
    asked = _said(
        f"Task {place.label}. I travel to {dice.choice(_CITIES)} for {dice.randint(2, 9)} days: "
        f"look up the weather, then order {dice.randint(2, 90)} {dice.choice(_GOODS)} there."
    )
    return {**asked, "tools": _TOOLS, "tool_choice": "required"}


def _schema(place: Position, prompt_tokens: int) -> Body:
    dice = place.dice()
    asked = _said(
        f"Message {place.label}: please send {dice.randint(2, 90)} {dice.choice(_GOODS)} and "
        f"{dice.randint(2, 90)} {dice.choice(_GOODS)} to our shop in {dice.choice(_CITIES)}. Write the order "
        "as JSON."
    )
    json_schema = {"name": "order", "strict": True, "schema": _ORDER_SCHEMA}
    return {**asked, "response_format": {"type": "json_schema", "json_schema": json_schema}}


SHAPES: Mapping[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("chat", "short questions, long answers", 128, _chat),
        Shape("long", "a different long prompt for each request, short answers", 32, _long),
        Shape("prefix", "one long system prompt, and a different question for each request", 32, _prefix),
        Shape("tools", "functions, one of which must be called", 128, _tools),
        Shape("schema", "an answer that follows a JSON Schema", 128, _schema),
    )
}


@cache
def _shared_report(seed: int, n_tokens: int) -> str:
    return _report(random.Random(seed), n_tokens)  # noqa: S311 - prompts are no secrets


def _said(text: str, system: str = "") -> Body:
    instructions = [{"role": "system", "content": system}] if system else []
    return {"messages": [*instructions, {"role": "user", "content": text}]}


def _report(dice: random.Random, n_tokens: int) -> str:
    sentences: list[str] = []
    n_words = 0.0
    while n_words < n_tokens * _WORDS_PER_TOKEN:
        sentence = (
            f"In {dice.choice(_CITIES)} a {dice.choice(_ADJECTIVES)} {dice.choice(_HEROES)} "
            f"{dice.choice(_VERBS)} {dice.randint(2, 99)} {dice.choice(_ADJECTIVES)} {dice.choice(_GOODS)}."
        )
        sentences.append(sentence)
        n_words += len(sentence.split())
    return " ".join(sentences)

"""Questions: the same by seed, never twice in a run."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest

from tessera.bench.shapes import SHAPES, Position, Shape
from tessera.schemas.check import check_schema
from tessera.wire.decode import decode_request

ALL = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def places(seed: int) -> list[Position]:
    counts = itertools.product((1, 8, 16), range(3), range(8), range(2))
    return [Position(seed, *each) for each in counts]


def body(shape: Shape, place: Position, prompt_tokens: int = 100) -> Mapping[str, Any]:
    return shape.body(place, prompt_tokens, None)


@ALL
def test_a_seed_gives_the_same_questions_and_another_gives_others(shape: Shape) -> None:
    asked = [json.dumps(body(shape, place)) for place in places(7)]
    assert asked == [json.dumps(body(shape, place)) for place in places(7)]
    assert not set(asked) & {json.dumps(body(shape, place)) for place in places(8)}


@ALL
def test_no_question_comes_twice(shape: Shape) -> None:
    asked = [body(shape, place)["messages"][-1]["content"] for place in places(7)]
    assert len(set(asked)) == len(asked)


@ALL
def test_questions_differ_within_their_first_words(shape: Shape) -> None:
    openings = {body(shape, place)["messages"][-1]["content"][:30] for place in places(7)}
    assert len(openings) == len(places(7))


@ALL
def test_a_question_is_a_request(shape: Shape) -> None:
    request, options = decode_request(json.dumps(body(shape, places(7)[0])).encode())
    assert request.max_output_tokens == shape.max_tokens
    assert (options.stream, options.include_usage, options.ignored) == (True, True, ())


def test_the_prefix_is_shared_and_long_ones_are_not() -> None:
    prefixes = {body(SHAPES["prefix"], place)["messages"][0]["content"] for place in places(7)}
    assert len(prefixes) == 1
    long = [body(SHAPES["long"], place, 1000)["messages"][0]["content"] for place in places(7)]
    assert len({text[200:400] for text in long}) == len(long)


@pytest.mark.parametrize("name", ["long", "prefix"])
def test_long_prompts_are_as_long_as_was_asked(name: str) -> None:
    def n_words(n_tokens: int) -> int:
        return len(body(SHAPES[name], places(7)[0], n_tokens)["messages"][0]["content"].split())

    assert 1300 < n_words(2000) < 1500
    assert n_words(200) < 200


def test_the_schemas_can_be_kept_by_grammar() -> None:
    schema = body(SHAPES["schema"], places(7)[0])["response_format"]["json_schema"]["schema"]
    tools = body(SHAPES["tools"], places(7)[0])["tools"]
    for each in (schema, *(tool["function"]["parameters"] for tool in tools)):
        check_schema(each, strict=True, param="schema")

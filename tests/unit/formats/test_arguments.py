"""Arguments of calls in the history: whatever they are, they are rendered, and as they were written."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.formats.arguments import as_mapping, as_text, members, respelled

ODD_NUMBERS = ["1e5", "1.50", "-0", "0.10", "1E+2", "2.0", "12345678901234567890123", "1e400", "-1.0e-7"]
numbers = st.sampled_from(ODD_NUMBERS) | st.integers(-1000, 1000).map(str)
texts = st.text(st.characters(codec="utf-8"), max_size=6) | st.sampled_from(
    ['"', "\\", "\\u00e9", "{", ", ", ": "]
)
strings = texts.map(lambda text: json.dumps(text, ensure_ascii=False))
literals = st.sampled_from(["true", "false", "null"])


def objects(value: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.lists(st.tuples(strings, value), max_size=3, unique_by=lambda pair: pair[0])
    return pairs.map(lambda found: "{" + ", ".join(f"{name}: {each}" for name, each in found) + "}")


values = st.recursive(
    numbers | strings | literals,
    lambda inner: st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]") | objects(inner),
    max_leaves=6,
)
"""JSON texts as replies spell them, but for their numbers."""


@given(objects(values))
def test_what_a_reply_spelled_stays_as_it_is(text: str) -> None:
    assert respelled(text) == text


@given(objects(values), st.booleans())
def test_another_spelling_becomes_that_of_replies(text: str, ascii: bool) -> None:
    """What `JSON.stringify` of a client in JavaScript makes of it, and `json.dumps` of one in Python."""
    kept = json.JSONDecoder(parse_int=_Number, parse_float=_Number).decode(text)
    compact = _stringify(kept, ascii=ascii)
    assert respelled(compact) == respelled(f" {compact}\n") == text


class _Number(str):
    """A number with its spelling."""


def _stringify(value: object, *, ascii: bool) -> str:
    match value:
        case _Number():
            return str(value)
        case dict():
            members = (f"{_stringify(k, ascii=ascii)}:{_stringify(v, ascii=ascii)}" for k, v in value.items())
            return f"{{{','.join(members)}}}"
        case list():
            return f"[{','.join(_stringify(each, ascii=ascii) for each in value)}]"
        case _:
            return json.dumps(value, ensure_ascii=ascii)


@given(objects(values), st.data())
def test_a_cut_text_loses_nothing(text: str, data: st.DataObject) -> None:
    cut = text[: data.draw(st.integers(1, len(text)))]
    assert respelled(cut).rstrip(" ") == cut.rstrip(" ")
    whole, found = members(text), members(cut)
    assert whole is not None
    assert found is not None
    assert [*found] == [*whole][: len(found)]
    for name in [*found][:-1]:
        assert found[name] == whole[name]
    if found:
        last = [*found][-1]
        assert whole[last].startswith(found[last])
        # Half an escape has no text yet, and half a character is none.
        assert as_text(whole[last]).startswith(as_text(found[last]).rstrip(" ").removesuffix("\ufffd"))
    assert [*as_mapping(cut)] == [*found]


@given(
    st.text()
    | st.lists(st.sampled_from([*'{}[]",:\\ \n', "\\u", "\\ud800", "tru", "1", "NaN", "é"])).map("".join)
)
def test_any_text_can_be_rendered(text: str) -> None:
    for rendered in (
        respelled(text),
        json.dumps(as_mapping(text)),
        *map(as_text, (members(text) or {}).values()),
    ):
        rendered.encode()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{" * 100_000, '{"a":[' * 50_000])
def test_any_depth_can_be_rendered(text: str) -> None:
    assert len(respelled(text)) >= len(text)
    found = as_mapping(text)
    assert found == {"arguments": text}
    for value in (members(text) or {}).values():
        assert as_text(value).startswith(("{", "["))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"city": "Le', {"city": '"Le'}),
        ('{"city": ', {"city": ""}),
        ('{"city"', {}),
        ('{"ci', {}),
        ("{", {}),
        ('{"a": 1.', {"a": "1."}),
        ('{"a": [1, {"b": "x', {"a": '[1, {"b": "x'}),
        ('{"a": 1, "a": 2}', {"a": "2"}),
        ("{'a': 1}", None),
        ("hello", None),
        ("[1]", None),
        ("", None),
    ],
)
def test_members(text: str, found: dict[str, str] | None) -> None:
    assert members(text) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [("hello", '"hello"'), ("[1,2]", "[1, 2]"), ('"x"', '"x"'), ("1e5", "1e5"), ("{'a': 1}", "\"{'a': 1}\"")],
)
def test_what_is_no_object_is_written_as_json(text: str, shown: str) -> None:
    assert respelled(text) == shown
    assert as_mapping(text) == {"arguments": text}


@pytest.mark.parametrize("cut", ['"x\\', '"x\\u', '"x\\u00', '"x\\u00e', '"x'])
def test_half_an_escape_is_left_out(cut: str) -> None:
    assert as_text(cut) == "x"
    assert as_text(cut.replace("x", "\\\\x")) == "\\x"


def test_the_time_does_not_grow_faster_than_the_text() -> None:
    """A pattern that backtracks would never end here."""
    for hostile in (
        '{"a":' + " " * 300_000 + "x",
        "{" + " " * 300_000,
        '{"a":"' + "\\" * 300_001,
        '"' * 300_001,
    ):
        assert re.sub(r"\s", "", respelled(hostile))
        members(hostile)

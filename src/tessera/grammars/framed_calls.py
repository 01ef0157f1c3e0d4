"""The rules for calls that are JSON between fixed texts, as `syntax.CallForm` describes them."""

import re
from collections.abc import Callable, Iterable, Mapping

from tessera.grammars.lark import Rules, either, expression, literal, quoted
from tessera.parsing.calls_framed import split_at
from tessera.parsing.syntax import CallForm

_JSON_TOKEN = re.compile(r'"[^"]*"?|[^"\s]')


def framed_calls(
    rules: Rules,
    form: CallForm,
    tag: Callable[[str], str],
    arguments: Mapping[str, str],
    *,
    one_call: bool,
) -> str:
    """The rule for all calls of a reply, without the opening tag of the first one. `arguments` are those of
    the functions that may be called; `tag` spells a tag.
    """

    def spelled(text: str) -> str:
        parts = split_at(text, form.tags)
        return " ".join(tag(part) if part in form.tags else literal(part) for part in parts)

    rest = {name: rules.add("arguments", value) for name, value in arguments.items()}
    identifier = f"{expression(form.id)} {spelled(form.after_id)}" if form.id else ""

    def call(*beginnings: str) -> str:
        # As one text, the head of a bare call is one terminal, so that the lexer tells it from free text.
        heads = ((spelled(each + name + form.between), name) for each in beginnings for name in rest)
        return rules.add("call", either(f"{head} {identifier} {rest[name]}" for head, name in heads))

    more = "" if one_call or form.next is None else f"{call(form.next)}*"
    return rules.add("calls", f"{call(form.first, *form.other_first)} {more} {spelled(form.last)}")


def bare_opening(form: CallForm, names: Iterable[str]) -> str:
    """The expression for the beginning of a reply that is meant as a call without a tag, whatever its white
    space; the names are those of callable functions.
    """
    beginnings = "|".join(map(_loosely, (form.first, *form.other_first)))
    return rf'\s*(?:{beginnings})(?:{"|".join(map(quoted, names))})"'


def _loosely(text: str) -> str:
    """The expression for the beginning of a JSON text, in any white space."""
    return r"\s*".join(map(quoted, _JSON_TOKEN.findall(text)))

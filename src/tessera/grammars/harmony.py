r"""The messages of gpt-oss that may follow the reasoning.

    messages = [ commentary ] call | final
    call     = the header of a call, and the object of its arguments

The model ends its turn with a call, so there is one at most. It may name the function before the channel, as
its template does, or after it, as it was trained to.
"""

from collections.abc import Callable, Mapping

from tessera.grammars.lark import Rules, literal
from tessera.parsing.harmony import CHANNEL, CONSTRAIN, MESSAGE, START


def messages(
    rules: Rules,
    tag: Callable[[str], str],
    *,
    text: str | None,
    final: str | None,
    arguments: Mapping[str, str],
) -> str:
    """The rule for messages, of which the header of the first has begun.

    `tag` spells a tag; `text` is free text to the end of its message, None if there is none before a call;
    `final` is the answer, None if there must be a call; `arguments` are those of the functions that may be
    called.
    """
    channel, message = tag(CHANNEL), tag(MESSAGE)
    options = [] if final is None else [f'{channel} "final" {message} {final}']
    if arguments:
        kind = rules.add("type", f'" " {tag(CONSTRAIN)}? "json" {message}')
        calls = " | ".join(
            f"({channel} {literal(f'commentary to=functions.{name}')}"
            f' | {literal(f" to=functions.{name}")} {channel} "commentary") {kind} {value}'
            for name, value in arguments.items()
        )
        call = rules.add("call", calls)
        if text is not None and final is not None:
            preamble = f'{channel} "commentary" {message} {text} {tag(START)} "assistant"'
            call = f"({preamble})? {call}"
        options.append(call)
    return f"({' | '.join(options)})"

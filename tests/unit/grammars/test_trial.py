import pytest

from tessera.core.chat import ChatRequest, JsonSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.trial import Trial
from tessera.grammars.turn import build_grammar

CONTROL = {"<end>": 256, "<call>": 257}


def test_problems() -> None:
    trial = Trial(258, CONTROL)
    assert trial.problem('start: /(?s:.*)/ <[257]> "x"') is None
    assert trial.problem('start: %json {"type": "string", "minLength": 3, "maxLength": 2}') == (
        "Unsatisfiable schema: minLength (3) is greater than maxLength (2)"
    )
    assert trial.problem("start: X\nX: /a+/ & /b+/") == "nothing can be written that fits"
    assert trial.problem("start: (") is not None


@pytest.mark.parametrize("n_patterns", [8, 9, 12])
def test_automata_that_grow_with_every_word_are_found_before_a_model_meets_them(n_patterns: int) -> None:
    patterns = [{"pattern": chr(97 + i)} for i in range(n_patterns)]
    schema = JsonSchema("x", {"type": "string", "allOf": patterns})
    grammar = build_grammar(ChatRequest((), answer_format=schema), HERMES.syntax, {"<end>": 256})
    assert grammar is not None
    problem = Trial(257, {"<end>": 256}).problem(grammar.lark)
    assert problem is not None


def test_words_hold_up_no_harmless_grammar() -> None:
    trial = Trial(257, {"<end>": 256})
    for lark in ('start: "a" | "b"\n', "start: /[a-z ]+/\n", 'start: %json {"type": "object"}\n'):
        assert trial.problem(lark) is None

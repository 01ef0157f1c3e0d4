from tessera.text.grammar_trial import Trial

CONTROL = {"<end>": 256, "<call>": 257}


def test_problems() -> None:
    trial = Trial(258, CONTROL)
    assert trial.problem('start: /(?s:.*)/ <[257]> "x"') is None
    assert trial.problem('start: %json {"type": "string", "minLength": 3, "maxLength": 2}') == (
        "Unsatisfiable schema: minLength (3) is greater than maxLength (2)"
    )
    assert trial.problem("start: X\nX: /a+/ & /b+/")
    assert trial.problem("start: (") is not None

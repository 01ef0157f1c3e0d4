"""gpt-oss and GLM: twice the output costs at most twice the calls of functions, whatever it is made of."""

import pytest
from tests.families import GLM_TEXT, GLM_TOKENS, HARMONY, HARMONY_TEXT, Family

FINAL = ["<|channel|>", "final", "<|message|>"]
TO = ["<|channel|>", "commentary to=functions.get_time", "<|message|>"]
KEY = ["<tool_call>", "get_weather\n", "<arg_key>"]
VALUE = [*KEY, "city", "</arg_key>", "<arg_value>"]
HARMONY_UNITS = (
    ["<|start|>"], ["<|channel|>"], ["<|end|>"], ["<|start|>", "assistant", "<|channel|>"],
    [*FINAL, "a"],
    ["<|start|>", "assistant", *FINAL, "a", "<|end|>"], ["<|channel|>", "other", "<|message|>"], TO,
    [*TO, "{}"],
    [" \n"], ["assis"], ["<|"], ['"', "{"],
)  # fmt: skip
GLM_UNITS = (
    ["<tool_call>"], ["<tool_call>", "get_wea"], ["<tool_call>", "get_time\n"], KEY, VALUE,
    [*VALUE, "a", "</arg_value>"], ["<arg_key>"], ["</arg_key>"], ["<arg_key>", "city", "</arg_key>", "\n"],
    ["</arg_value>"], ["</arg_value>", " "], ["</tool_call>"], [" \n"], ["<"],
)  # fmt: skip
CASES = [
    pytest.param(family, within, unit, id=f"{family.id}-{i}-{j}")
    for families, starts, units in (
        ((HARMONY, HARMONY_TEXT), ([], FINAL, TO, [*TO, '{"a": "'], ["<|start|>"]), HARMONY_UNITS),
        ((GLM_TOKENS, GLM_TEXT), ([], ["<tool_call>"], KEY, VALUE, [*VALUE, "</arg_value>"]), GLM_UNITS),
    )
    for family in families
    for i, within in enumerate(starts)
    for j, unit in enumerate(units)
]


@pytest.mark.parametrize(("family", "within", "unit"), CASES)
def test_work_grows_with_the_length(family: Family, within: list[str], unit: list[str]) -> None:
    base = family.work(within)
    grown = [family.work([*within, *unit * n]) - base for n in (40, 80)]
    assert grown[1] <= 2.2 * grown[0] + 400

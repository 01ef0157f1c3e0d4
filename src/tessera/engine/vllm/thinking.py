"""A thinking budget as part of the grammar.

vLLM bounds reasoning only with a parser for it, which every request would then pass through. llguidance
counts tokens itself: `rule[max_tokens=N]` ends a rule after N of them. The reasoning of our grammars is the
first item of `start`, a terminal before the control token that ends it.
"""

import re

from tessera.core.generation import Grammar, ThinkingBudget
from tessera.errors import UnsupportedParameter

_ANY = "TEXT: /(?s:.*)/"
_START = re.compile(r"\Astart: (\w+) (?=<\[\d+\]>)")
_RULE = "budgeted_reasoning"


def with_budget(grammar: Grammar | None, budget: ThinkingBudget) -> Grammar:
    """The grammar with at most `n_tokens` of reasoning; without a grammar, any text may follow.

    Raises `UnsupportedParameter` where no control token ends the reasoning: a rule with a limit cannot also
    end at a text.
    """
    if not isinstance(budget.end, int):
        raise UnsupportedParameter(
            "`thinking_token_budget` is not supported here: the model's reasoning ends with ordinary text, "
            "up to which the engine cannot count. Leave it out."
        )
    lark = grammar.lark if grammar else f"start: TEXT <[{budget.end}]> TEXT\n{_ANY}\n"
    found = _START.match(lark)
    if found is None:  # the turn has no reasoning
        return Grammar(lark)
    rest = lark[found.end() :]
    # llguidance 1.7 does not enforce a limit of 0.
    if budget.n_tokens == 0:
        return Grammar(f"start: {rest}")
    return Grammar(f"start: {_RULE} {rest}{_RULE}[max_tokens={budget.n_tokens}]: {found[1]}\n")

"""MaskBench in this process: is every schema taken, and every instance judged rightly?

The data is the folder `maskbench/data` of the public repository guidance-ai/jsonschemabench: a schema in each
file, with instances that are valid or not. A schema is right if it is accepted as `response_format` without
strict, its grammar admits every valid instance as it is written there, and no invalid one would be delivered.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from multiprocessing import Pool
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

from llguidance import LLMatcher

from tessera.core.chat import ChatRequest, JsonObject, JsonSchema
from tessera.core.generation import Grammar
from tessera.errors import InvalidSchema
from tessera.formats.hermes import HERMES
from tessera.grammars.bytewise import ByteTokenizer
from tessera.grammars.llg import LIMITS, llg_tokenizer
from tessera.grammars.process import Attempts
from tessera.grammars.relaxation import usable_grammar
from tessera.grammars.trial import Trial
from tessera.schemas.validation import Validator

END = {"<|im_end|>": 256}


@dataclass(slots=True)
class Outcome:
    """The outcome of one schema. `attempts` is how many grammars were tried."""

    id: str
    compile_s: float = 0.0
    attempts: int = 0
    refused: str | None = None
    not_admitted: list[str] = field(default_factory=list[str])
    delivered: list[str] = field(default_factory=list[str])
    n_late: int = 0

    @property
    def right(self) -> bool:
        return not (self.refused or self.not_admitted or self.delivered)


@lru_cache
def trial() -> Trial:
    """The compiler of this process."""
    return Trial(257, END)


def judge(path: Path) -> Outcome:
    """Compiles the schema of one file, and judges its instances."""
    case = json.loads(path.read_text())
    outcome = Outcome(path.stem)
    attempts = Attempts(trial())

    def attempt(grammar: Grammar) -> str | None:
        outcome.attempts += 1
        return attempts.attempt(grammar)

    begun_s = process_time() + attempts.used_s
    request = ChatRequest((), answer_format=JsonSchema("answer", case["schema"], strict=False))
    try:
        grammar = usable_grammar(request, HERMES.syntax, END, attempt)
    except InvalidSchema as error:
        outcome.refused = error.message
        return outcome
    finally:
        outcome.compile_s = process_time() + attempts.used_s - begun_s
    assert grammar is not None
    follow(outcome, case["schema"], grammar.lark, case["tests"])
    return outcome


def follow(outcome: Outcome, schema: JsonObject | bool, lark: str, tests: Iterable[Any]) -> None:
    """Judges the instances by the grammar, byte by byte, and by the final check."""
    validator = Validator(schema)
    tokenizer = llg_tokenizer(ByteTokenizer(257, END), [min(END.values())])
    for test in tests:
        text = json.dumps(test["data"], ensure_ascii=False)
        matcher = LLMatcher(tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0, limits=LIMITS)
        ids = [*text.encode()]
        n_read = matcher.try_consume_tokens(ids)
        admitted = n_read == len(ids) and matcher.is_accepting()
        fits = validator.validate(text) is None
        if test["valid"] and not (admitted and fits):
            outcome.not_admitted.append(f"{text[max(0, n_read - 60) : n_read]}▶{text[n_read : n_read + 40]}")
        elif not test["valid"] and admitted:
            outcome.n_late += not fits
            if fits:
                outcome.delivered.append(text[:100])


def report(outcomes: list[Outcome]) -> Iterator[str]:
    """Prints the figures, and a table of what is still refused, by reason."""
    n = len(outcomes)
    right = sum(each.right for each in outcomes)
    times = sorted(each.compile_s * 1e3 for each in outcomes)
    yield f"{n} schemas, {right} right ({100 * right / n:.2f} %)"
    yield f"refused: {sum(each.refused is not None for each in outcomes)}"
    yield f"a valid instance not admitted: {sum(bool(each.not_admitted) for each in outcomes)}"
    yield f"an invalid instance delivered: {sum(bool(each.delivered) for each in outcomes)}"
    yield f"invalid instances that only the final check found: {sum(each.n_late for each in outcomes)}"
    yield f"taken by the first grammar: {sum(each.attempts == 1 and not each.refused for each in outcomes)}"
    yield f"first compile, processor time: median {median(times):.1f} ms, p99 {times[int(n * 0.99)]:.1f} ms"
    reasons = Counter(re.sub(r"at #[^:]*: ", "", each.refused)[:100] for each in outcomes if each.refused)
    for reason, count in reasons.most_common():
        yield f"{count:6} {reason}"


def main() -> None:
    """Judges all schemas, or every n-th; prints a report, and keeps what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.maskbench", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder with the data's JSON files")
    parser.add_argument("--every", type=int, default=1, metavar="N")
    parser.add_argument("--wrong", type=Path, metavar="FILE", help="write one line for each that is wrong")
    chosen = parser.parse_args()
    with Pool(2) as pool:
        files = sorted(chosen.folder.glob("*.json"))[:: chosen.every]
        outcomes = pool.map(judge, files, chunksize=8)
    print(*report(outcomes), sep="\n")
    if chosen.wrong:
        lines = (
            f"{each.id}\t{each.refused or ''}\t{each.not_admitted}\t{each.delivered}"
            for each in outcomes
            if not each.right
        )
        chosen.wrong.write_text("\n".join(lines))


if __name__ == "__main__":
    main()

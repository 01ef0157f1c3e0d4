from typing import Any

import pytest

from tessera.core.generation import Sampling
from tessera.engine.vllm.sampling import sampling_fields


def fields(sequence: int = 0, **given: Any) -> dict[str, object]:
    return sampling_fields(Sampling(max_tokens=5, **given), sequence, 100)


@pytest.mark.parametrize(
    ("given", "name", "expected"),
    [
        ({"temperature": 0.0}, "temperature", 0.0),
        ({"temperature": 9e-6}, "temperature", 0.0),
        ({"temperature": 0.001}, "temperature", 0.01),
        ({"temperature": 0.7}, "temperature", 0.7),
        ({"temperature": 5.0}, "temperature", 2.0),
        ({"top_p": 0.0, "top_k": 50}, "top_p", 1.0),
        ({"top_p": 0.0, "top_k": 50}, "top_k", 1),
        ({"top_k": 20}, "top_k", 20),
        ({"min_p": 0.1}, "min_p", 0.1),
        ({"presence_penalty": 3.0}, "presence_penalty", 2.0),
        ({"frequency_penalty": -2.5}, "frequency_penalty", -2.0),
        ({"repetition_penalty": 1.3}, "repetition_penalty", 1.3),
        ({"logit_bias": {3: 1.5, 100: 2.0, -1: 2.0}}, "logit_bias", {3: 1.5}),
        ({"logit_bias": {100: 2.0}}, "logit_bias", None),
        ({"stop_token_ids": frozenset({7, 2, 100, 10**6})}, "stop_token_ids", [2, 7]),
        ({"seed": None}, "seed", None),
        ({"seed": -1}, "seed", 2**63 - 1),
        ({"seed": 2**63 + 4}, "seed", 4),
        ({"top_logprobs": 0}, "logprobs", 0),
        ({"top_logprobs": None}, "logprobs", None),
        ({}, "max_tokens", 5),
        ({}, "ignore_eos", True),
        ({}, "detokenize", False),
    ],
)
def test_a_field_becomes_what_vllm_accepts(given: dict[str, Any], name: str, expected: object) -> None:
    assert fields(**given)[name] == expected


def test_each_sequence_has_a_seed_of_its_own() -> None:
    assert [fields(i, seed=40)["seed"] for i in range(3)] == [40, 41, 42]
    assert fields(1, seed=2**63 - 1)["seed"] == 0

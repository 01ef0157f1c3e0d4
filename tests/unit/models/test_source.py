"""What the files of a model say of its sampling."""

from dataclasses import dataclass

import pytest

from tessera.core.generation import SamplingDefaults
from tessera.models.source import GenerationConfig


@dataclass(frozen=True)
class Case:
    id: str
    file: GenerationConfig
    sampling: SamplingDefaults


CASES = [
    Case("nothing is said", GenerationConfig(), SamplingDefaults()),
    Case(
        "everything is said",
        GenerationConfig(temperature=0.6, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1),
        SamplingDefaults(temperature=0.6, top_p=0.9, top_k=20, min_p=0.1, repetition_penalty=1.1),
    ),
    Case("greedy", GenerationConfig(do_sample=False, top_p=0.9), SamplingDefaults(temperature=0.0)),
    Case("temperature 0", GenerationConfig(temperature=0.0), SamplingDefaults(temperature=0.0)),
    Case("penalty 0", GenerationConfig(repetition_penalty=0.0), SamplingDefaults()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_sampling_is_what_the_file_says_and_else_neutral(case: Case) -> None:
    assert case.file.sampling == case.sampling

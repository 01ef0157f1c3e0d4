import re

import pytest

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError
from tessera.models.hub import HubId, choose_files

GRAPH = ["openvino_model.xml", "openvino_model.bin"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("org/name", HubId("org/name")),
        ("org/name@v1.0", HubId("org/name", "v1.0")),
        ("org/na.me-1@refs/pr/1:Q4_K_M", HubId("org/na.me-1", "refs/pr/1", "Q4_K_M")),
        ("org/name:Q8_0", HubId("org/name", None, "Q8_0")),
        ("name", None),
        ("/etc/model", None),
        ("a/b/c", None),
        ("org/name ", None),
        ("", None),
    ],
)
def test_an_id_is_read(text: str, expected: HubId | None) -> None:
    assert HubId.parse(text) == expected


@pytest.mark.parametrize(
    ("gguf", "names", "expected"),
    [
        (
            None,
            [*GRAPH, "tokenizer.json", "README.md", "x.py", "openvino_tokenizer.xml"],
            [*GRAPH, "tokenizer.json"],
        ),
        (None, [*GRAPH, "m.gguf"], GRAPH),
        (None, ["README.md", "only.gguf", "mmproj-F16.gguf"], ["only.gguf"]),
        ("q4_k", ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "README.md"], ["m-Q4_K_M.gguf"]),
        ("Q4_K", ["m-Q4_K.gguf", "m-Q4_K_M.gguf"], ["m-Q4_K.gguf"]),
        ("Q4_K_M", ["m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf"], ["m-Q4_K_M.gguf"]),
        ("UD-Q4_K_M", ["m-Q4_K_M.gguf", "m-UD-Q4_K_M.gguf"], ["m-UD-Q4_K_M.gguf"]),
        ("Q8_0", [*GRAPH, "m-Q8_0.gguf"], ["m-Q8_0.gguf"]),
        (
            "BF16",
            ["m-Q8_0.gguf", "BF16/m-00002-of-00002.gguf", "BF16/m-00001-of-00002.gguf"],
            ["BF16/m-00001-of-00002.gguf", "BF16/m-00002-of-00002.gguf"],
        ),
    ],
)
def test_only_what_serving_needs_is_chosen(gguf: str | None, names: list[str], expected: list[str]) -> None:
    assert choose_files(HubId("org/name", gguf=gguf), names, IR) == expected


@pytest.mark.parametrize(
    ("gguf", "names", "message"),
    [
        (None, ["model.safetensors"], "org/name has no OpenVINO IR and no GGUF file"),
        ("Q2", ["m-Q4.gguf"], "no GGUF file with 'Q2' in its name"),
        (None, ["m-Q4.gguf", "m-Q8.gguf"], "several GGUF files: m-Q4.gguf, m-Q8.gguf"),
        (None, ["m-00001-of-00002.gguf"], "lacks m-00002-of-00002.gguf, a part of m-00001-of-00002.gguf"),
        ("Q4", ["a-Q4_K_M.gguf", "a-Q4_0.gguf"], "several GGUF files"),
    ],
)
def test_what_cannot_be_served_is_refused(gguf: str | None, names: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        choose_files(HubId("org/name", gguf=gguf), names, IR)

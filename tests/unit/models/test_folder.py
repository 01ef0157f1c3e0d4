import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tessera.engine.openvino.convert import IR
from tessera.errors import ModelError
from tessera.models.folder import read_folder
from tessera.models.source import ModelSource

WHOLE: Mapping[str, object] = {
    "openvino_model.xml": "<net/>",
    "openvino_model.bin": "weights",
    "tokenizer.json": {},
    "config.json": {"max_position_embeddings": 2048, "eos_token_id": 7},
}


def folder_of(path: Path, files: Mapping[str, object]) -> Path:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name).write_text(text)
    return path


def read(path: Path, files: Mapping[str, object]) -> ModelSource:
    return read_folder(folder_of(path, files), "a/model", IR)


def test_the_least_there_is_can_be_served(tmp_path: Path) -> None:
    folder = read(tmp_path, WHOLE)
    assert (folder.model_id, folder.context_tokens, folder.eos_token_ids) == ("a/model", 2048, (7,))
    assert (folder.bos_token, folder.eos_token, folder.chat_template) == ("", "", None)
    assert folder.path == tmp_path


@dataclass(frozen=True)
class Case:
    id: str
    files: Mapping[str, object]
    expected: Mapping[str, object] = field(default_factory=dict)


CASES = [
    Case("several ends", {"generation_config.json": {"eos_token_id": [1, 2]}}, {"eos_token_ids": (1, 2)}),
    Case("one end", {"generation_config.json": {"eos_token_id": 0}}, {"eos_token_ids": (0,)}),
    Case(
        "a model that sees",
        {"config.json": {"text_config": {"max_position_embeddings": 64}}},
        {"context_tokens": 64, "eos_token_ids": ()},
    ),
    Case(
        "tokens as objects",
        {"tokenizer_config.json": {"bos_token": None, "eos_token": {"content": "<e>", "special": True}}},
        {"bos_token": "", "eos_token": "<e>"},
    ),
    Case("inner template", {"tokenizer_config.json": {"chat_template": "x"}}, {"chat_template": "x"}),
    Case(
        "named templates",
        {"tokenizer_config.json": {"chat_template": [{"name": "default", "template": "d"}]}},
        {"chat_template": "d"},
    ),
    Case(
        "a template's own file wins",
        {"tokenizer_config.json": {"chat_template": "x"}, "chat_template.jinja": "own"},
        {"chat_template": "own"},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_the_files_say_is_read(case: Case, tmp_path: Path) -> None:
    folder = read(tmp_path, {**WHOLE, **case.files})
    assert {name: getattr(folder, name) for name in case.expected} == case.expected


REFUSED = [
    Case("not json", {"config.json": "{"}, {"named": "config.json"}),
    Case("wrong type", {"config.json": {"max_position_embeddings": "2048"}}, {"named": "config.json"}),
    Case("no length", {"config.json": {}}, {"named": "context length"}),
    Case(
        "code",
        {"config.json": {"max_position_embeddings": 1, "auto_map": {"AutoModel": "m.M"}}},
        {"named": "auto_map"},
    ),
    Case("broken generation", {"generation_config.json": "[]"}, {"named": "generation_config.json"}),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_is_wrong_is_named(case: Case, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=str(case.expected["named"])):
        read(tmp_path, {**WHOLE, **case.files})


@pytest.mark.parametrize("missing", WHOLE)
def test_what_is_missing_is_named(missing: str, tmp_path: Path) -> None:
    files = {name: content for name, content in WHOLE.items() if name != missing}
    with pytest.raises(ModelError, match=missing):
        read(tmp_path, files)

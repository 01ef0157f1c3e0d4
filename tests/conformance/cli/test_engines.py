"""The library of llama.cpp: found, checked, linked; and the tokenizer that it has."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gguf_vocabulary import CONTROL, DATA, LlamaVocabulary, byte_level, write
from tests.hosted import vllm_python

from tessera.engine.llamacpp.library import locate
from tessera.engine.llamacpp.vocabulary import open_tokenizer
from tessera.errors import StartupError

Tessera = Callable[..., tuple[int, str, str]]
RECORDED = json.loads(DATA.read_text())


@pytest.fixture(scope="module")
def library() -> Path:
    try:
        return locate(None)[1]
    except StartupError as error:
        pytest.skip(error.message)


def test_a_library_of_the_operators_is_checked_and_then_used(
    tessera: Tessera, library: Path, tmp_path: Path
) -> None:
    own = tmp_path / "libllama.so"
    own.symlink_to(library)
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    code, said, errors = tessera("engines", "install", "llamacpp", "--library", str(own), **data)
    assert code == 0, errors
    assert "\tcpu CPU: " in said
    link = tmp_path / "data/tessera/engines/llamacpp/library"
    assert link.resolve() == library
    code, listed, _ = tessera("engines", "list", **data)
    assert code == 0
    assert "llamacpp\tready\txllamacpp" in listed
    assert {line.split("\t")[0] for line in listed.splitlines()} >= {"openvino", "llamacpp", "scripted"}


def test_a_file_that_is_no_library_is_refused_and_the_earlier_one_stays(
    tessera: Tessera, library: Path, tmp_path: Path
) -> None:
    data = {"XDG_DATA_HOME": str(tmp_path / "data")}
    assert tessera("engines", "install", "llamacpp", "--library", str(library), **data)[0] == 0
    other = tmp_path / "other.so"
    other.write_text("nothing")
    code, _, said = tessera("engines", "install", "llamacpp", "--library", str(other), **data)
    assert code == 2
    assert "other.so cannot be loaded" in said
    assert (tmp_path / "data/tessera/engines/llamacpp/library").resolve() == library


def test_a_library_is_not_built(tessera: Tessera, library: Path) -> None:
    code, _, said = tessera("engines", "install", "llamacpp", "--cuda", "--library", str(library))
    assert code == 2
    assert "leave out --cuda" in said


def test_without_a_compiler_there_is_no_build_for_a_gpu(tessera: Tessera, tmp_path: Path) -> None:
    code, _, said = tessera("engines", "install", "llamacpp", "--vulkan", PATH=str(tmp_path))
    assert code == 2
    assert "a C++ compiler and cmake are needed" in said


def test_a_tokenizer_that_only_the_library_knows_serves(library: Path, tmp_path: Path) -> None:
    metadata = byte_level("superbpe", RECORDED["merges"])
    metadata["tokenizer.ggml.tokens"] += ["<|end|>", "<tool_call>"]
    metadata["tokenizer.ggml.token_type"] += [CONTROL, 4]
    path = write(tmp_path / "m.gguf", metadata)
    tokenizer, own = open_tokenizer(library, [path]), LlamaVocabulary(library, path)
    n_tokens = len(metadata["tokenizer.ggml.tokens"])
    # llama.cpp takes a token for control that ends turns elsewhere, whatever the file says.
    ends = {"<|im_end|>": metadata["tokenizer.ggml.tokens"].index("<|im_end|>")}
    assert tokenizer.control_tokens == {"<|end|>": n_tokens - 2, "<tool_call>": n_tokens - 1, **ends}
    assert tokenizer.vocabulary_size == n_tokens
    assert n_tokens - 1 in own.encode("a<tool_call>b")
    for case in RECORDED["cases"]:
        ids = tokenizer.encode(case["text"])
        assert set(ids).isdisjoint(tokenizer.control_tokens.values())
        assert b"".join(map(tokenizer.token_bytes, ids)) == case["text"].encode()
        if {*tokenizer.control_tokens.values()}.isdisjoint(own.encode(case["text"])):
            assert ids == own.encode(case["text"])


def test_engines_show_what_they_can_do_and_what_they_lack(tessera: Tessera, tmp_path: Path) -> None:
    code, listed, _ = tessera("engines", "list", XDG_DATA_HOME=str(tmp_path / "data"))
    assert code == 0
    lines = listed.splitlines()
    assert "vllm\tmissing\tGet vLLM with: tessera engines install vllm." in lines
    assert lines[lines.index("openvino\tready\tcpu") + 1] == "\tcan do grammar, logprobs, n, thinking_budget"


@pytest.mark.parametrize("flag", ["--metal", "--vulkan"])
def test_vllm_is_installed_for_nvidia_or_the_processor_only(tessera: Tessera, flag: str) -> None:
    code, _, said = tessera("engines", "install", "vllm", flag)
    assert code == 2
    assert "NVIDIA's GPUs or, with --cpu, for the processor" in said


def test_vllm_needs_a_model_and_an_environment(tessera: Tessera, tmp_path: Path) -> None:
    data = {"XDG_DATA_HOME": str(tmp_path / "data"), "TESSERA_PORT": "0"}
    code, _, said = tessera("serve", "--engine", "vllm", **data)
    assert code == 2
    assert "The engine vllm needs --model" in said
    code, _, said = tessera("serve", "--engine", "vllm", "--model", str(tmp_path), **data)
    assert code == 2
    assert "Make it with: tessera engines install vllm" in said


def test_an_interpreter_without_vllm_is_found_out(tessera: Tessera) -> None:
    code, listed, _ = tessera("engines", "list", "--engine-python", sys.executable)
    assert code == 0
    assert "This environment has no vLLM" in listed
    code, listed, _ = tessera("engines", "list", "--engine-python", "/nothing/python")
    assert code == 0
    assert "vllm\tmissing\t/nothing/python cannot be run: No such file or directory." in listed


@pytest.mark.vllm
def test_an_environment_with_vllm_is_shown(tessera: Tessera) -> None:
    code, listed, _ = tessera("engines", "list", "--engine-python", str(vllm_python()))
    assert code == 0
    assert "vllm\tready\tvllm" in listed

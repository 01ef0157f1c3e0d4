"""Small vocabularies in which every cut between words shows, and what llama.cpp makes of odd texts with them.

    python -m tests.gguf_vocabulary LIBRARY TEXTS

writes `data/gguf_tokens.json` anew: `LIBRARY` is a shared library that exports llama.h, `TEXTS` a JSON list.
The merges are learned from the texts as a whole, so that tokens reach across words unless a cut prevents it.
"""

import ctypes
import json
import sys
import tempfile
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tessera.text.splitting import SPLITTINGS

DATA = Path(__file__).parent / "data" / "gguf_tokens.json"
ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
WHOLE_WORDS = ["The", "Ġquick", "Ġjumps", "ĠEnglish", "ĠHello", "123"]
"""Tokens to which no merges lead; only families that look words up whole know them."""
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


def byte_level(pre: str, merges: Sequence[str]) -> dict[str, Any]:
    """The metadata of a vocabulary in GPT-2's alphabet."""
    tokens = [*ALPHABET, *(merge.replace(" ", "") for merge in merges), *WHOLE_WORDS]
    return _metadata("gpt2", list(dict.fromkeys(tokens)), pre=pre, merges=list(merges))


def gemma4(merges: Sequence[str], letters: str) -> dict[str, Any]:
    tokens = [*_bytes(), *letters, *(merge.replace(" ", "") for merge in merges)]
    return _metadata("gemma4", list(dict.fromkeys(tokens)), merges=list(merges))


def sentencepiece(merges: Sequence[str], letters: str) -> dict[str, Any]:
    tokens = list(dict.fromkeys([*_bytes(), *letters, *(merge.replace(" ", "") for merge in merges)]))
    scores = [-float(id) for id in range(len(tokens))]
    return _metadata("llama", tokens, scores=scores, add_space_prefix=False)


def _bytes() -> list[str]:
    return ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]


def _metadata(model: str, tokens: list[str], **more: object) -> dict[str, Any]:
    special = {"<unk>": UNKNOWN} | {f"<0x{byte:02X}>": BYTE for byte in range(256)}
    types = [special.get(token, NORMAL) for token in tokens]
    fields = {"model": model, "tokens": tokens, "token_type": types, **more}
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def write(path: Path, metadata: dict[str, Any]) -> Path:
    """Writes a GGUF file that has only a vocabulary."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(512)
    add_fields(writer, metadata)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def add_fields(writer: gguf.GGUFWriter, metadata: dict[str, Any]) -> None:
    for key, value in metadata.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(
                key, value, gguf.GGUFValueType.BOOL if value in (True, False) else gguf.GGUFValueType.STRING
            )


class _ModelParams(ctypes.Structure):
    """`llama_model_params` up to `vocab_only`, and room for what follows."""

    _fields_ = (
        ("pointers", ctypes.c_void_p * 2),
        ("numbers", ctypes.c_int32 * 5),
        ("tensor_split", ctypes.c_void_p),
        ("callbacks", ctypes.c_void_p * 3),
        ("vocab_only", ctypes.c_bool),
        ("room", ctypes.c_uint8 * 263),
    )


class LlamaVocabulary:
    """The tokenizer of a GGUF file, as llama.cpp reads it."""

    def __init__(self, library: Path, path: Path) -> None:
        self._library: Any = ctypes.CDLL(str(library))
        load, default = self._library.llama_model_load_from_file, self._library.llama_model_default_params
        default.restype, load.restype, load.argtypes = (
            _ModelParams,
            ctypes.c_void_p,
            [ctypes.c_char_p, _ModelParams],
        )
        params = default()
        params.vocab_only = True
        self._library.llama_model_get_vocab.restype = ctypes.c_void_p
        self._library.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        model = load(str(path).encode(), params)
        assert model, path
        self._vocabulary = ctypes.c_void_p(self._library.llama_model_get_vocab(model))

    def encode(self, text: str) -> list[int]:
        data = text.encode()
        found = (ctypes.c_int32 * (len(data) + 16))()
        n_tokens = self._library.llama_tokenize(
            self._vocabulary, data, len(data), found, len(found), ctypes.c_bool(False), ctypes.c_bool(False)
        )
        return found[:n_tokens]


def learn(texts: Sequence[str], alphabet: Sequence[str], n_tokens: int) -> list[str]:
    """Learns merges from the texts, which may reach across words."""
    tokenizer = Tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens, min_frequency=2, initial_alphabet=list(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def main() -> None:
    library, texts = Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merges = learn(
        ["".join(word for word, _ in level.pre_tokenize_str(text)) for text in texts], ALPHABET, 1500
    )
    lines = [line.replace(" ", "▁") for text in texts for line in text.split("\n")]
    letters = "".join(sorted({letter for line in lines for letter in line if letter.isprintable()}))[:400]
    pieces = [merge for merge in learn(lines, (), 1500) if set(merge) <= set(letters + " ")]
    vocabularies = {pre: byte_level(pre, merges) for pre in SPLITTINGS}
    first = {id(splitting): pre for pre, splitting in [*SPLITTINGS.items()][::-1]}
    vocabularies |= {"gemma4": gemma4(pieces, letters), "sentencepiece": sentencepiece(pieces, letters)}
    results: list[dict[str, list[str]]] = [{} for _ in texts]
    with tempfile.TemporaryDirectory() as folder:
        for name, metadata in vocabularies.items():
            made = LlamaVocabulary(library, write(Path(folder) / f"{name}.gguf", metadata))
            for text, result in zip(texts, results, strict=True):
                nfc = name in SPLITTINGS and SPLITTINGS[name].nfc
                ids = made.encode(unicodedata.normalize("NFC", text) if nfc else text)
                names = result.setdefault(" ".join(map(str, ids)), [])
                if name not in SPLITTINGS or first[id(SPLITTINGS[name])] == name:
                    names.append(name)
                elif first[id(SPLITTINGS[name])] not in names:
                    raise SystemExit(f"llama.cpp cuts {text!r} otherwise for {name} than for its equals.")
    cases = [
        {"text": text, "ids": {" ".join(names): ids for ids, names in result.items()}}
        for text, result in zip(texts, results, strict=True)
    ]
    content = {"merges": merges, "pieces": pieces, "letters": letters, "cases": cases}
    DATA.write_text(json.dumps(content, indent=0) + "\n")


if __name__ == "__main__":
    main()

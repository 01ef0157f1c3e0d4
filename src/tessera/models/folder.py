"""A folder that is ready to be served: weights, with the files that go with them on model hubs.

    openvino_model.xml, .bin   the weights, in a form that the engine reads
    tokenizer.json             as the `tokenizers` library reads it
    config.json                the context length, among others
    generation_config.json     the tokens that end a turn, the model's sampling (may be absent)
    tokenizer_config.json      the text of bos and eos, sometimes the chat template (may be absent)
    chat_template.jinja        the chat template (may be absent)

Converted GGUF files are put into the same form, so that there is one loader. No code of a folder is ever run:
a folder that asks for it is refused.
"""

from pathlib import Path
from typing import TypeVar

import msgspec

from tessera.errors import ModelError
from tessera.models.source import GenerationConfig, ModelSource, WeightsForm

TOKENIZER = "tokenizer.json"
_REQUIRED = (TOKENIZER, "config.json")
_OPTIONAL = ("generation_config.json", "tokenizer_config.json", "chat_template.jinja")
SERVED_FILES = _REQUIRED + _OPTIONAL
"""What is read of a folder beside the weights."""

_T = TypeVar("_T")


class _TextConfig(msgspec.Struct, frozen=True):
    max_position_embeddings: int | None = None


class Config(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is read of config.json. Models that see images keep the context length one level down."""

    model_type: str = ""
    max_position_embeddings: int | None = None
    text_config: _TextConfig = _TextConfig()
    eos_token_id: int | list[int] | None = None
    auto_map: object = None


class _AddedToken(msgspec.Struct, frozen=True):
    content: str


class _NamedTemplate(msgspec.Struct, frozen=True):
    name: str
    template: str


class TokenizerConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is read of tokenizer_config.json."""

    bos_token: str | _AddedToken | None = None
    eos_token: str | _AddedToken | None = None
    chat_template: str | list[_NamedTemplate] | None = None


def read_folder(path: Path, model_id: str, form: WeightsForm) -> ModelSource:
    """Describes the folder; raises `ModelError` naming the file that is missing or wrong."""
    optional = (TOKENIZER,) if form.has_tokenizer else ()
    missing = [
        name
        for name in dict.fromkeys(form.files + _REQUIRED)
        if name not in optional and not (path / name).is_file()
    ]
    if form.weights is not None and not any(path.glob(form.weights)):
        missing.append(form.weights)
    if missing:
        raise ModelError(
            f"{path} is not a model in {form.name} form: it has no {', '.join(missing)}. {form.export}"
        )
    config = _decode(path / "config.json", Config)
    if config.auto_map is not None:
        raise ModelError(f"{path / 'config.json'} asks to run code that comes with the model (auto_map).")
    generation = _decode(path / "generation_config.json", GenerationConfig)
    tokenizer = _decode(path / "tokenizer_config.json", TokenizerConfig)
    context = config.max_position_embeddings or config.text_config.max_position_embeddings
    if context is None:
        raise ModelError(f"{path / 'config.json'} does not say the context length.")
    return ModelSource(
        path=path,
        model_id=model_id,
        created_s=int((path / form.files[0]).stat().st_mtime),
        context_tokens=context,
        eos_token_ids=_ids(generation.eos_token_id) or _ids(config.eos_token_id),
        bos_token=_content(tokenizer.bos_token),
        eos_token=_content(tokenizer.eos_token),
        chat_template=_chat_template(path, tokenizer),
        generation=generation,
        architecture=config.model_type,
    )


def _decode(path: Path, kind: type[_T]) -> _T:
    """The defaults for a file that is absent."""
    try:
        return msgspec.json.decode(path.read_bytes() if path.is_file() else b"{}", type=kind)
    except (msgspec.DecodeError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error


def _ids(found: int | list[int] | None) -> tuple[int, ...]:
    if found is None:
        return ()
    return tuple(found) if isinstance(found, list) else (found,)


def _content(token: str | _AddedToken | None) -> str:
    return token.content if isinstance(token, _AddedToken) else token or ""


def _chat_template(path: Path, tokenizer: TokenizerConfig) -> str | None:
    file = path / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = tokenizer.chat_template
    if isinstance(found, list):
        return next((named.template for named in found if named.name == "default"), None)
    return found

"""Explains a model that cannot be found: the operator mistyped a path, or the id of a model on a hub."""

import difflib
import re
from pathlib import Path

from tessera.errors import ModelError

_PATH = re.compile(r"[./~\\].*|[^@:]*\.gguf|[^@:]*[/\\][^@:]*[/\\].*", re.IGNORECASE | re.DOTALL)
_MOST_SHOWN = 5


def is_path(spec: str) -> bool:
    """Whether the text can only be a path: an id of a hub has one slash, and no GGUF file for its name."""
    return _PATH.fullmatch(spec) is not None


def not_found(spec: str) -> ModelError:
    """The error for a text that names nothing."""
    return ModelError(
        f"{spec} is neither a folder, nor a GGUF file, nor the id of a model on a hub: {where_it_ends(spec)}"
    )


def where_it_ends(spec: str) -> str:
    """How far the path exists, and what there is instead, as a sentence."""
    path = Path(spec).expanduser().absolute()
    there = next(parent for parent in path.parents if parent.is_dir())
    missing = path.relative_to(there).parts[0]
    try:
        names = sorted(each.name for each in there.iterdir() if _is_candidate(each))
    except OSError:
        names = []
    if close := difflib.get_close_matches(missing, names, n=1):
        return f"there is no {there / missing}. Did you mean {there / close[0]}?"
    of_models = [name for name in names if name.endswith(".gguf")][:_MOST_SHOWN]
    shown = f" It has {', '.join(of_models)}." if of_models else ""
    return f"there is no {missing} in {there}.{shown}"


def _is_candidate(path: Path) -> bool:
    return path.suffix == ".gguf" or path.is_dir()

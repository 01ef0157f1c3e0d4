"""Headers of GGUF files, made by hand."""

from collections.abc import Mapping

from tessera.models.header import GgufHeader, Tensor

F16 = 1


def header(architecture: str, tensors: Mapping[str, int], **fields: object) -> GgufHeader:
    """A header. `tensors` have so many F16 values; two underscores in the name of a field are a dot."""
    made = [Tensor(name, (n_values,), F16, 0) for name, n_values in tensors.items()]
    named = {f"{architecture}.{key.replace('__', '.')}": value for key, value in fields.items()}
    return GgufHeader({"general.architecture": architecture, **named}, tuple(made), 0)

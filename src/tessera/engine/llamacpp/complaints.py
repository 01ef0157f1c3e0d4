"""What llama.cpp says when it cannot do something, in words."""

from tessera.engine.llamacpp.api import LlamaApi

_CODES = {
    1: "it found no cells for the tokens",
    2: "it was aborted",
    -1: "it refused the positions or the tokens",
    -2: "it could not allocate memory",
    -3: "the computation failed",
}
# After these, cells are as they were before.
_UNCHANGED = (1, -1)


class PassRefused(RuntimeError):
    """llama.cpp computed nothing of a pass, and changed nothing."""


def failed_pass(code: int) -> RuntimeError:
    """The error for a code of `llama_decode`: `PassRefused`, unless it is not known what was computed."""
    reason = f"llama_decode returned {code}: {_CODES.get(code, 'an unknown code')}"
    return (PassRefused if code in _UNCHANGED else RuntimeError)(reason)


def complaint(api: LlamaApi) -> str:
    """The first error that the library reported since its complaints were cleared, as a sentence. Those that
    follow only say which of its functions failed in turn.
    """
    text = " ".join(api.complaints[0].split()) if api.complaints else "it does not say why"
    return f"{text.rstrip('.')}."

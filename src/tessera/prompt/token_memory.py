"""Remembers the token ids of generated texts, so that a prompt repeats them.

There are many ways to cut a text into tokens, and a model does not always choose the tokenizer's own: sampled
and forced tokens may be shorter. If such a reply were encoded anew, its ids would not match the engine's
prefix cache. The ids of every generated text are therefore kept, keyed by all ids before it: a prompt that
begins with an earlier prompt and its reply then begins with the very same ids. Elsewhere the same text is
encoded as usual.
"""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from tessera.catalog import Model
from tessera.core.generation import Prompt, TokenChunk
from tessera.text.detokenizer import control_texts


class TokenTrail:
    """A digest of the ids before a text. Digests under different salts (at most 64 bytes) never match."""

    def __init__(self, salt: bytes) -> None:
        self._hash = blake2b(key=salt, digest_size=32, person=b"spoken")

    def extend(self, ids: Iterable[int]) -> None:
        self._hash.update(array("I", ids))

    def fork(self) -> "TokenTrail":
        """A copy that goes on by itself."""
        trail = TokenTrail(b"")
        trail._hash = self._hash.copy()
        return trail

    def key(self, text: str) -> bytes:
        """The key of a text that follows these ids."""
        here = self._hash.copy()
        here.update(blake2b(text.encode(errors="surrogatepass")).digest())
        return here.digest()


class TokenRecorder:
    """Follows one generation. Keeps the ids of each text between two control tokens in `model.encoded`."""

    def __init__(self, prompt: Prompt, model: Model) -> None:
        self._control = control_texts(model.tokenizer).keys()
        self._bytes_of = model.tokenizer.token_bytes
        self._known = model.encoded
        ids = prompt.token_ids
        start = next((i + 1 for i in reversed(range(len(ids))) if ids[i] in self._control), 0)
        self._trail = TokenTrail(prompt.cache_salt)
        self._begun = ids[start:]
        self._trail.extend(ids[:start])
        self._texts: dict[int, tuple[TokenTrail, list[int]]] = {}

    def feed(self, chunk: TokenChunk) -> None:
        """Adds tokens. A text ends where a control token follows."""
        text = self._texts.get(chunk.sequence)
        if text is None:
            text = self._texts[chunk.sequence] = self._trail.fork(), [*self._begun]
        trail, ids = text
        if self._control.isdisjoint(chunk.token_ids):  # the common case
            ids.extend(chunk.token_ids)
            return
        for token_id in chunk.token_ids:
            if token_id in self._control:
                self._keep(trail, ids)
                trail.extend([*ids, token_id])
                ids.clear()
            else:
                ids.append(token_id)

    def _keep(self, trail: TokenTrail, ids: list[int]) -> None:
        try:
            text = b"".join(map(self._bytes_of, ids)).decode()
        except UnicodeDecodeError:  # no prompt can hold such a text
            return
        if text:
            self._known.keep(trail.key(text), ids)

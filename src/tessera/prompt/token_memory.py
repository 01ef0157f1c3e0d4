"""What a model wrote is read back as it was written.

There are many ways to cut a text into tokens, and a model does not always take the tokenizer's own: sampled
and forced tokens may be shorter. Encoded anew, such a reply would no longer be what the engine has cached.
So the ids of every text that was generated are kept, under all that stood before it: a prompt that begins
with an earlier prompt and the reply to it then begins with the very same ids. Elsewhere the same text is
encoded as ever.
"""

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from tessera.catalog import Model
from tessera.core.generation import Prompt, TokenChunk


class TokenTrail:
    """The ids before a text, as a digest. Different salts, of at most 64 bytes, never meet."""

    def __init__(self, salt: bytes) -> None:
        self._hash = blake2b(key=salt, digest_size=32, person=b"spoken")

    def go(self, ids: Iterable[int]) -> None:
        """Append ids."""
        self._hash.update(array("I", ids))

    def fork(self) -> "TokenTrail":
        """Another trail, from here on."""
        trail = TokenTrail(b"")
        trail._hash = self._hash.copy()
        return trail

    def key(self, text: str) -> bytes:
        """Names the text at this place."""
        here = self._hash.copy()
        here.update(blake2b(text.encode(errors="surrogatepass")).digest())
        return here.digest()


class TokenRecorder:
    """Follows one generation; keeps in `model.encoded` how each text between two control tokens was cut."""

    def __init__(self, prompt: Prompt, model: Model) -> None:
        self._control = frozenset(model.tokenizer.control_tokens.values())
        self._bytes_of = model.tokenizer.token_bytes
        self._known = model.encoded
        ids = prompt.token_ids
        start = next((i + 1 for i in reversed(range(len(ids))) if ids[i] in self._control), 0)
        self._trail = TokenTrail(prompt.cache_salt)
        self._begun = ids[start:]
        self._trail.go(ids[:start])
        self._texts: dict[int, tuple[TokenTrail, list[int]]] = {}

    def feed(self, chunk: TokenChunk) -> None:
        """A text is whole when a control token follows."""
        text = self._texts.get(chunk.sequence)
        if text is None:
            text = self._texts[chunk.sequence] = self._trail.fork(), [*self._begun]
        trail, ids = text
        if self._control.isdisjoint(chunk.token_ids):  # nearly always
            ids.extend(chunk.token_ids)
            return
        for token_id in chunk.token_ids:
            if token_id in self._control:
                self._keep(trail, ids)
                trail.go([*ids, token_id])
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

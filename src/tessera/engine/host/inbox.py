"""The chunks of one generation, on their way from the connection to its reader."""

import asyncio
import itertools

from tessera.core.generation import TokenChunk


class Inbox:
    """Holds what has arrived and was not taken yet, by sequence."""

    def __init__(self) -> None:
        self.begun = False
        """Whether anything has ever arrived."""
        self._waiting: dict[int, list[TokenChunk]] = {}
        self._error: Exception | None = None
        self._arrived = asyncio.Event()

    def put(self, chunk: TokenChunk) -> None:
        """Never blocks: the tokens of the generation bound how much can pile up."""
        self.begun = True
        self._waiting.setdefault(chunk.sequence, []).append(chunk)
        self._arrived.set()

    def fail(self, error: Exception) -> None:
        """Ends the inbox: nothing more will arrive."""
        self._error = error
        self._arrived.set()

    async def take(self) -> list[TokenChunk]:
        """At least one chunk, at most one of each sequence. An error is raised after all that preceded it."""
        await self._arrived.wait()
        if self._waiting:
            taken, self._waiting = self._waiting, {}
            if self._error is None:
                self._arrived.clear()
            return [_merged(chunks) for chunks in taken.values()]
        assert self._error is not None
        raise self._error


def _merged(chunks: list[TokenChunk]) -> TokenChunk:
    """Consecutive chunks of one sequence as one."""
    if len(chunks) == 1:
        return chunks[0]
    return TokenChunk(
        chunks[0].sequence,
        tuple(itertools.chain.from_iterable(chunk.token_ids for chunk in chunks)),
        chunks[-1].finish,
        chunks[0].cached_tokens,
        tuple(itertools.chain.from_iterable(chunk.logprobs for chunk in chunks)),
    )

"""A whole reply from all of its events."""

from collections.abc import Iterable

from tessera.core.events import ChatEvent
from tessera.core.result import Reply, ReplyFold


def fold(events: Iterable[ChatEvent]) -> Reply:
    """The reply of all its events, in order."""
    folding = ReplyFold()
    for event in events:
        folding.add(event)
    return folding.reply()

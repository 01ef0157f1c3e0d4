"""Cursors: where the next page of a list begins, as a text that a client sends back."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress

import msgspec
from msgspec import Struct

from tessera.errors import OperatorError
from tessera.store.accounts import can_be_name
from tessera.store.pages import After, Value


class _Cursor(Struct, frozen=True, array_like=True):
    sort: str
    value: Value
    id: str


def write_cursor(sort: str, after: After) -> str:
    """The cursor of the page after this row. It holds for this order only."""
    return urlsafe_b64encode(msgspec.json.encode(_Cursor(sort, after.value, after.id))).decode()


def read_cursor(sent: str, sort: str) -> After:
    """Raises `OperatorError` for a cursor of another order, or of none."""
    cursor = None
    with suppress(ValueError, msgspec.MsgspecError):
        cursor = msgspec.json.decode(urlsafe_b64decode(sent), type=_Cursor)
    if cursor is None or cursor.sort != sort or not _is_place(cursor):
        message = (
            "cursor does not belong to this list and its order: send the one that came with the last page."
        )
        raise OperatorError(message, param="cursor")
    return After(cursor.value, cursor.id)


def _is_place(cursor: _Cursor) -> bool:
    is_time = cursor.sort.endswith("_s")
    fits = not isinstance(cursor.value, str) if is_time else isinstance(cursor.value, str)
    return fits and all(can_be_name(text) for text in (cursor.id, cursor.value) if isinstance(text, str))

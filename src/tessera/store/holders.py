"""Looks up the holder of a key while requests are served."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select, update

from tessera.errors import StoreUnavailable
from tessera.store import peppers
from tessera.store.accounts import Account, account_of
from tessera.store.database import Database, Transaction, transaction
from tessera.store.keys import Key, key_of
from tessera.store.tables import ACCOUNTS, KEYS


@dataclass(frozen=True, slots=True)
class Holder:
    """A stored key and its account."""

    digest: bytes
    key: Key
    account: Account


class Holders:
    """The stored keys by their digests. The methods block, and raise `StoreUnavailable`."""

    def __init__(self, database: Database, check_value: bytes | None = None) -> None:
        """`check_value` is that of the pepper which digests are derived with."""
        self._database = database
        self._check_value = check_value

    def find(self, digest: bytes, former: bytes | None = None) -> Holder | None:
        """None if no key has this digest. A key that was revoked, or has expired, is found too. A key of the
        digest `former`, which was derived with the pepper before a rotation, gets the new one.
        """
        with transaction(self._database) as connection:
            if found := _find(connection, digest):
                return found
            if former is not None and self._check_value is not None and _find(connection, former):
                moved = {"digest": digest, "pepper": peppers.id_of(self._check_value)}
                connection.execute(update(KEYS).where(KEYS.c.digest == former).values(**moved))
                return _find(connection, digest)
            # With the wrong pepper every key is unknown, which says nothing about the key.
            if self._check_value and peppers.latest(connection) not in (None, self._check_value):
                failure = StoreUnavailable("The store's keys cannot be verified now. Send the request again.")
                failure.reason = "the pepper is not the one that the keys of this store were made with"
                raise failure
        return None

    def touch(self, used: Mapping[str, float]) -> None:
        """Notes when keys were last used: Unix time by id."""
        with transaction(self._database) as connection:
            # Always in the same order: two servers would otherwise deadlock.
            for key_id, used_s in sorted(used.items()):
                is_later = func.coalesce(KEYS.c.last_used_s, 0) < used_s
                row = update(KEYS).where(KEYS.c.id == key_id, is_later)
                connection.execute(row.values(last_used_s=used_s))


def _find(connection: Transaction, digest: bytes) -> Holder | None:
    query = select(KEYS, ACCOUNTS).join(ACCOUNTS).where(KEYS.c.digest == digest)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return Holder(bytes(row[KEYS.c.digest]), key_of(row), account_of(row))

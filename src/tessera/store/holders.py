"""Looks up the holder of a key while requests are served."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select, update

from tessera.store.accounts import Account, account_of
from tessera.store.database import Database, transaction
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

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, digest: bytes) -> Holder | None:
        """None if no key has this digest. A key that was revoked, or has expired, is found too."""
        query = select(KEYS, ACCOUNTS).join(ACCOUNTS).where(KEYS.c.digest == digest)
        with transaction(self._database) as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return Holder(bytes(row[KEYS.c.digest]), key_of(row), account_of(row))

    def touch(self, used: Mapping[str, float]) -> None:
        """Notes when keys were last used: Unix time by id."""
        with transaction(self._database) as connection:
            # Always in the same order: two servers would otherwise deadlock.
            for key_id, used_s in sorted(used.items()):
                is_later = func.coalesce(KEYS.c.last_used_s, 0) < used_s
                row = update(KEYS).where(KEYS.c.id == key_id, is_later)
                connection.execute(row.values(last_used_s=used_s))

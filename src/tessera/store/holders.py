"""Whose a key is, asked while requests are served."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Engine, func, select, update

from tessera.store.accounts import Account, account_of
from tessera.store.keys import Key, key_of
from tessera.store.opening import transaction
from tessera.store.tables import ACCOUNTS, KEYS


@dataclass(frozen=True, slots=True)
class Holder:
    """A key as the store has it, and its account."""

    digest: bytes
    key: Key
    account: Account


class Holders:
    """The store's keys by their digests. Its calls block, and raise `StoreUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, digest: bytes) -> Holder | None:
        """None for a digest that is no key's, whatever has become of the key."""
        query = select(KEYS, ACCOUNTS).join(ACCOUNTS).where(KEYS.c.digest == digest)
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            return None
        return Holder(bytes(row[KEYS.c.digest]), key_of(row), account_of(row))

    def touch(self, used: Mapping[str, float]) -> None:
        """Note when keys, by their ids, were last used."""
        with transaction(self._engine) as connection:
            # In one order, so that two servers do not wait for each other.
            for key_id, used_s in sorted(used.items()):
                is_later = func.coalesce(KEYS.c.last_used_s, 0) < used_s
                row = update(KEYS).where(KEYS.c.id == key_id, is_later)
                connection.execute(row.values(last_used_s=used_s))

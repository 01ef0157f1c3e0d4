"""Which pepper the stored digests were derived with. The store never holds a pepper, only a check value that
tells peppers apart.

A check value is recorded by the first server, so that no command makes keys with another pepper, and it holds
once there are keys. A rotation adds another one: a key moves to the new pepper when it is used, because only
then is its secret at hand.
"""

import time

from sqlalchemy import Connection, func, insert, inspect, select, update

from tessera.errors import StartupError
from tessera.store import audit
from tessera.store.database import locked
from tessera.store.tables import KEYS, PEPPERS

_LOST = (
    "If it is lost, no stored key can be verified any more: `tessera store rotate-pepper --lost` revokes all "
    "keys and begins with a new pepper."
)


def id_of(check_value: bytes) -> str:
    """The name of a pepper, in rows of keys."""
    return check_value.hex()[:16]


def current_id(connection: Connection) -> str | None:
    """The name of the pepper that digests are derived with."""
    found = current(connection)
    return None if found is None else id_of(found)


def current(connection: Connection) -> bytes | None:
    """The check value of the pepper that digests are derived with; None if there is none yet, or the store is
    of a version that kept none.
    """
    return latest(connection) if inspect(connection).has_table(PEPPERS.name) else None


def current_of_keys(connection: Connection) -> bytes | None:
    """As `current`; None if there are no keys, so that another pepper would be as good."""
    return current(connection) if inspect(connection).has_table(KEYS.name) and _has_keys(connection) else None


def latest(connection: Connection) -> bytes | None:
    """As `current`, for a store that has been upgraded."""
    found = connection.scalar(select(PEPPERS.c.check_value).order_by(PEPPERS.c.since_s.desc()).limit(1))
    return None if found is None else bytes(found)


def require(connection: Connection, check_value: bytes, former: bytes | None = None) -> None:
    """Raises `StartupError` if the store's keys were made with a pepper other than that of `check_value` and
    that of `former`.
    """
    found = current(connection)
    if found is not None and found not in (check_value, former):
        raise mismatch()


def mismatch() -> StartupError:
    """The error for a pepper that is not the store's."""
    return StartupError(
        "The pepper is not the one that the keys of this store were made with. Give the right "
        f"TESSERA_PEPPER, or put its file back beside the store. {_LOST}"
    )


def missing(path: object) -> StartupError:
    """The error for a pepper whose file is gone, or is that of a variable which a command does not have."""
    return StartupError(
        f"The pepper {path} is missing, and the store has one. Put the file back, or give the TESSERA_PEPPER "
        f"of the servers. {_LOST}"
    )


def adopt(
    connection: Connection, check_value: bytes, former: bytes | None, *, by: str, makes_key: bool = False
) -> None:
    """Records the pepper of a server, or of a command that `makes_key`: the first one, the successor of
    `former`, or, of a server, any while there are no keys. Raises `StartupError` as `require` does.
    """
    if latest(connection) == check_value:
        return
    _lock(connection)
    if not makes_key and not _has_keys(connection):
        _record(connection, check_value)
        return
    require(connection, check_value, former)
    before = latest(connection)
    if before is None:
        _record(connection, former or check_value)
        made_with = id_of(former or check_value)
        connection.execute(update(KEYS).where(KEYS.c.pepper.is_(None)).values(pepper=made_with))
        before = former or check_value
    if before != check_value:
        _record(connection, check_value)
        audit.record(connection, by, "pepper.rotate", id_of(check_value), {"before": id_of(before)})


def replace_lost(connection: Connection, check_value: bytes, *, by: str) -> int:
    """Revokes all keys, and records the pepper for new ones. Returns how many keys were revoked."""
    revoked = update(KEYS).where(KEYS.c.revoked_s.is_(None)).values(revoked_s=time.time())
    n_revoked = connection.execute(revoked).rowcount
    if latest(connection) != check_value:
        _record(connection, check_value)
    audit.record(connection, by, "pepper.replace", id_of(check_value), {"keys_revoked": n_revoked})
    return n_revoked


def keys_of_former(connection: Connection) -> int:
    """The active keys that have not been used since the last rotation."""
    used = current(connection)
    if used is None:
        return 0
    is_left = KEYS.c.revoked_s.is_(None), KEYS.c.pepper != id_of(used)
    return connection.scalar(select(func.count()).select_from(KEYS).where(*is_left)) or 0


def _has_keys(connection: Connection) -> bool:
    return connection.scalar(select(KEYS.c.id).limit(1)) is not None


def _lock(connection: Connection) -> None:
    """Until the transaction has ended, no other one records a pepper."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE peppers IN SHARE ROW EXCLUSIVE MODE")
    else:
        locked(connection, select(PEPPERS))


def _record(connection: Connection, check_value: bytes) -> None:
    """Makes it the latest. A pepper may be used again, after another one."""
    since_s = max(time.time(), 1 + (connection.scalar(select(func.max(PEPPERS.c.since_s))) or 0.0))
    connection.execute(PEPPERS.delete().where(PEPPERS.c.id == id_of(check_value)))
    row = {"id": id_of(check_value), "check_value": check_value, "since_s": since_s}
    connection.execute(insert(PEPPERS).values(**row))

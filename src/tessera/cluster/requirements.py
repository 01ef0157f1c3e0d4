"""What must hold before replicas share limits, keys and usage."""

import asyncio

from tessera.access.spending import nothing_spent
from tessera.cluster.plan import n_replicas
from tessera.errors import StartupError
from tessera.observe.metrics import Metrics
from tessera.server.storage import database_url, opened, pepper
from tessera.server.wiring import limiter
from tessera.settings import Settings, model_settings
from tessera.store.database import sqlite_path
from tessera.store.migration import upgrade


def require_stores(settings: Settings, *, alone: bool = False) -> None:
    """Raises `StartupError`, naming the variables, unless the settings have what replicas share.

    With `alone` there is one replica, which needs nothing to share with.
    """
    if alone:
        return
    problems: list[str] = []
    if sqlite_path(database_url(settings)):
        problems.append("TESSERA_DATABASE_URL must name a PostgreSQL, which all replicas share.")
    if settings.redis_url is None:
        problems.append("TESSERA_REDIS_URL must name a Redis, in which replicas count requests together.")
    if settings.pepper is None:
        problems.append("TESSERA_PEPPER is needed, the same for every replica.")
    if problems:
        raise StartupError("\n".join(problems))


def may_be_alone(settings: Settings) -> bool:
    """Whether there is one model, with never more than one replica."""
    models = model_settings(settings)
    return len(models) == 1 and n_replicas(models[0])[1] == 1


def check_stores(settings: Settings, *, alone: bool) -> None:
    """Migrates the store, and asks Redis. Raises `StartupError` and `StoreUnavailable` with the reason."""
    require_stores(settings, alone=alone)
    pepper(settings)
    with opened(settings) as store:
        upgrade(store)
    if settings.redis_url is not None:
        asyncio.run(_check_redis(settings))


async def _check_redis(settings: Settings) -> None:
    found = limiter(settings, Metrics(), nothing_spent)
    from tessera.access.redis_limits import RedisLimiter  # the library is there, or `limiter` had raised

    assert isinstance(found, RedisLimiter)
    try:
        if not await found.answers():
            raise StartupError("The Redis of TESSERA_REDIS_URL does not answer.")
    finally:
        await found.aclose()

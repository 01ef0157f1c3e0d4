"""The composition root: settings become the `Service` that an API process runs."""

import math
from contextlib import AsyncExitStack

from tessera.access.capacity import Capacity, reserve
from tessera.access.keys import OPERATOR, KeyHasher, Keys
from tessera.access.limits import Limiter, MemoryLimiter
from tessera.access.spending import ReadSpent, nothing_spent
from tessera.access.stored_keys import StoredKeys
from tessera.access.tiers import OPERATOR_TIER, Tiers, configured
from tessera.access.watch import EVERY_S
from tessera.catalog import Catalog, Model
from tessera.errors import CommandError, StartupError
from tessera.http.limits import HttpLimits
from tessera.http.service import Service
from tessera.observe.metrics import Metrics
from tessera.observe.spans import Traces
from tessera.server.storage import database_url, spool_folder
from tessera.settings import Settings
from tessera.store.database import open_database
from tessera.store.holders import Holders
from tessera.usage.ledger import SqlLedger


def wire_service(
    settings: Settings,
    catalog: Catalog,
    secret: bytes,
    former_secret: bytes | None = None,
    *,
    stores: bool = True,
) -> Service:
    """The service of one API process; `secret` is the pepper, `former_secret` the one before a rotation.
    Unless it `stores`, the keys of the settings are the only ones, and no usage is recorded. Raises
    `StartupError`.
    """
    resources = AsyncExitStack()
    metrics = Metrics()
    named = tiers(settings)
    known = _configured_keys(settings, named, secret)
    hasher = KeyHasher(secret, former_secret)
    stored = _stored(settings, hasher, known, metrics, resources) if stores else None
    keys, ledger = stored or (known, None)
    return Service(
        catalog=catalog,
        keys=keys,
        limits=limits(settings),
        capacities={model.id: capacity(settings, model) for model in catalog.models()},
        metrics=metrics,
        limiter=limiter(settings, metrics, ledger.spent if ledger else nothing_spent),
        ledger=ledger,
        traces=traces(settings, metrics),
        origins=settings.cors_origins,
        web=settings.web,
        # A key in use is read again after half of its cache time, so a change is seen within all of it.
        watch_s=min(EVERY_S, settings.key_cache_s / 4),
        resources=resources,
    )


def _configured_keys(settings: Settings, tiers: Tiers, secret: bytes) -> Keys:
    """The operator's keys, which need no store."""
    known = Keys(secret=secret)
    for api_key in filter(None, (settings.api_key, settings.previous_api_key)):
        known.add(api_key, OPERATOR, tiers[OPERATOR_TIER])
    return known


def _stored(
    settings: Settings, hasher: KeyHasher, known: Keys, metrics: Metrics, resources: AsyncExitStack
) -> tuple[StoredKeys, SqlLedger]:
    """The keys and the ledger of the store; what they hold is added to the `resources`."""
    accounts = open_database(database_url(settings))
    resources.callback(accounts.dispose)
    holders, named = Holders(accounts, hasher.check_value), tiers(settings)
    keys = StoredKeys(known, hasher, holders, named, metrics=metrics, fresh_s=settings.key_cache_s)
    resources.push_async_callback(keys.aclose)
    # In a power cut the ledger's connections may lose the last commits: that makes commits much cheaper.
    usage = open_database(database_url(settings), survives_power_cut=False)
    resources.callback(usage.dispose)
    ledger = SqlLedger(
        usage,
        spool_folder(settings),
        metrics,
        retention_days=settings.usage_retention_days,
        tiers=named.names(),
    )
    return keys, ledger


def limits(settings: Settings) -> HttpLimits:
    """The limits of requests; raises `StartupError` if a body of the largest size would never fit."""
    most = settings.max_body_bytes
    account_bytes = settings.account_body_bytes or 2 * most
    priority_bytes = settings.priority_body_bytes or 4 * most
    for name, n_bytes in (("account_body_bytes", account_bytes), ("priority_body_bytes", priority_bytes)):
        if n_bytes < most:
            raise StartupError(f"{name} is {n_bytes}, less than max_body_bytes, which is {most}.")
    return HttpLimits(
        max_body_bytes=most,
        account_body_bytes=account_bytes,
        priority_body_bytes=priority_bytes,
        body_deadline_s=settings.body_deadline_s,
        keep_alive_s=settings.keep_alive_s,
        send_deadline_s=settings.send_deadline_s,
        deadline_s=settings.deadline_s,
    )


def capacity(settings: Settings, model: Model) -> Capacity:
    """The places of one API process at a model's engine: a few more than that computes at once, so that when
    a sequence ends the next one is in the engine already.
    """
    at_once = settings.max_running or math.ceil(1.25 * model.engine.info.max_sequences)
    n_places = math.ceil(at_once / settings.workers)
    named = tiers(settings)
    priorities = {named[name].priority for name in named.names()}
    return Capacity(
        max_running=n_places,
        reserved=reserve(n_places, settings.reserved_share, priorities),
        max_queued=math.ceil(settings.max_queued / settings.workers),
        queue_deadline_s=settings.queue_deadline_s,
    )


def tiers(settings: Settings) -> Tiers:
    """The default tiers with the changes of the settings; raises `StartupError`."""
    return configured(settings.tiers or {})


def limiter(settings: Settings, metrics: Metrics, read_spent: ReadSpent) -> Limiter:
    """The limiter of one API process: all of them count in Redis, or each grants its share of the limits."""
    if settings.redis_url is None:
        return MemoryLimiter(settings.workers, read_spent=read_spent)
    try:
        from tessera.access.redis_limits import RedisLimiter
    except ModuleNotFoundError as error:
        raise StartupError(
            "TESSERA_REDIS_URL needs a library: pip install 'tessera-serve[redis]'."
        ) from error
    try:
        return RedisLimiter(settings.redis_url, settings.workers, metrics, read_spent=read_spent)
    except ValueError as error:
        raise StartupError(
            "TESSERA_REDIS_URL, or an option in it, cannot be read. Give redis://host:6379/0, "
            "or rediss://host:6379/0 for TLS."
        ) from error


def traces(settings: Settings, metrics: Metrics) -> Traces | None:
    """The traces of one API process; raises `StartupError` if their library is missing, or its variables are
    invalid.
    """
    if settings.otlp_endpoint is None:
        return None
    try:
        from tessera.observe.otlp import OtlpTraces
    except ModuleNotFoundError as error:
        raise StartupError(
            "TESSERA_OTLP_ENDPOINT needs a library: pip install 'tessera-serve[otel]'."
        ) from error
    try:
        return OtlpTraces(settings.otlp_endpoint, metrics)
    except CommandError as error:
        raise StartupError(f"TESSERA_OTLP_ENDPOINT: {error.message}") from error
    except ValueError as error:
        raise StartupError(f"The variables OTEL_… make no sense: {error}") from error

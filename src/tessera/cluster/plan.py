"""The plan of a service on Ray Serve: a `Deployed` for each model and one for the front, made of plain data.

Settings that are secret never enter a plan, since Ray stores it and shows it to everyone who may use the
cluster. A replica reads them from the environment of its node.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from tessera import __version__
from tessera.configuration import load
from tessera.errors import StartupError
from tessera.settings import ROWS, Settings, model_settings

SECRETS: Mapping[str, str] = {row.variable: row.name for row in ROWS if row.secret}
"""The settings that replicas read from their environment, by the names of their variables."""

SLACK_S = 30.0
"""Seconds that a replica has, beyond the longest reply, to write its usage and to end its engine."""

FRONT_REQUESTS = 10_000
"""What a front relays at the same time; replicas have their own limits."""

ONLY_MODEL = "model"
"""What the application of a service's only model is called."""

LOOK_BACK_S = 30.0
"""The longest time of which the mean load decides about replicas."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as fronts know it. One that `may_sleep` may be without replicas until it is asked for."""

    application: str
    names: tuple[str, ...]
    may_sleep: bool


@dataclass(frozen=True, slots=True)
class Deployed:
    """One application of Ray Serve: a model or, with `models`, the front of these.

    `settings` are those that are not secret and differ from their defaults; `options` are the arguments of
    `serve.deployment`.
    """

    application: str
    settings: Mapping[str, object]
    options: Mapping[str, Any]
    models: tuple[ServedModel, ...] = ()

    @property
    def route(self) -> str | None:
        """The path under which Ray's proxies know it: only the front can be reached from outside."""
        return "/" if self.models else None


def plan_service(settings: Settings, name: str, surge_percent: int) -> tuple[Deployed, ...]:
    """The applications of the service: `name.MODEL` for each model, then the front, which is called `name`.

    Raises `StartupError` if two models have the same name, or would get the same application.
    """
    planned: dict[str, Deployed] = {}
    served: list[ServedModel] = []
    known: set[str] = set()
    for each in model_settings(settings):
        # A single model may have no name here; its replicas know it.
        names = () if each.model_name is None else (each.model_name, *(each.aliases or ()))
        segment = re.sub(r"[^A-Za-z0-9._-]", "-", each.model_name or "") if settings.models else ONLY_MODEL
        if segment in planned:
            raise StartupError(f"models has two names that become {name}.{segment}: change one of them.")
        if taken := known.intersection(names):
            raise StartupError(f"Two models have the name {min(taken)}: give one another name.")
        known.update(names)
        application = f"{name}.{segment}"
        planned[segment] = Deployed(application, _plain(each), _options(each, surge_percent))
        served.append(ServedModel(application, names, n_replicas(each)[0] == 0))
    front = Deployed(name, _plain(settings), _front_options(settings, surge_percent), tuple(served))
    return (*planned.values(), front)


def arguments_of(deployed: Deployed, *, alone: bool = False) -> dict[str, Any]:
    """What the application's builder takes: plain data. `alone` means one replica without shared stores."""
    models = [[each.application, list(each.names), each.may_sleep] for each in deployed.models]
    return {
        "settings": dict(deployed.settings),
        "options": dict(deployed.options),
        "version": __version__,
        "alone": alone,
        **({"models": models} if models else {}),
    }


def replica_settings(plain: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """The settings of a replica: those of the plan, and the secret ones of its environment.

    Raises `StartupError` for a variable with a wrong value.
    """
    given = {variable: environment[variable] for variable in SECRETS if variable in environment}
    secret = load({}, given)
    settings = msgspec.convert(plain, Settings, dec_hook=_read_path)
    return replace(settings, **{name: getattr(secret, name) for name in SECRETS.values()})


def n_replicas(settings: Settings) -> tuple[int, int]:
    """The fewest and the most replicas; raises `StartupError` if they contradict each other."""
    least = settings.min_replicas
    most = max(1, least) if settings.max_replicas is None else settings.max_replicas
    if most < least:
        raise StartupError(f"max_replicas is {most}, less than min_replicas, which is {least}.")
    return least, most


def _read_path(kind: type, value: Any) -> Any:  # noqa: ANN401 - tables of models have values of any type
    return Path(value) if kind is Path else value


def _plain(settings: Settings) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(settings, enc_hook=str)
    rows = [row for row in ROWS if not row.secret and getattr(settings, row.name) != row.default]
    return {row.name: values[row.name] for row in rows}


def _front_options(settings: Settings, surge_percent: int) -> dict[str, Any]:
    return {
        **_replacement(settings, surge_percent),
        "num_replicas": settings.front_replicas,
        "max_ongoing_requests": FRONT_REQUESTS,
        "ray_actor_options": {"num_cpus": settings.front_cpus},
    }


def _options(settings: Settings, surge_percent: int) -> dict[str, Any]:
    n_places = settings.max_running or math.ceil(1.25 * settings.max_sequences)
    return {
        **_replacement(settings, surge_percent),
        # A replica's own queue knows priorities, so requests wait there and not in a proxy of Serve.
        "max_ongoing_requests": n_places + settings.max_queued,
        "max_queued_requests": n_places + settings.max_queued,
        "backpressure_config": {"status_code": 503, "retry_after_s": 1},
        "max_constructor_retry_count": 3,
        "ray_actor_options": _resources(settings),
        **_scale(settings),
    }


def _replacement(settings: Settings, surge_percent: int) -> dict[str, Any]:
    """How replicas end, and how an update replaces them."""
    return {
        "graceful_shutdown_wait_loop_s": 1.0,
        "graceful_shutdown_timeout_s": settings.deadline_s + SLACK_S,
        "max_surge_percent": surge_percent,
    }


def _resources(settings: Settings) -> dict[str, Any]:
    return {
        "num_cpus": settings.replica_cpus,
        "num_gpus": settings.replica_gpus,
        **({"memory": settings.replica_memory_bytes} if settings.replica_memory_bytes else {}),
    }


def _scale(settings: Settings) -> dict[str, Any]:
    least, most = n_replicas(settings)
    if least == most:
        return {"num_replicas": least}
    return {
        "autoscaling_config": {
            "min_replicas": least,
            "max_replicas": most,
            "target_ongoing_requests": settings.requests_per_replica or settings.max_sequences,
            "downscale_delay_s": settings.replica_idle_s,
            # The mean of what was running: of a longer time than the delay, it would end replicas late.
            "look_back_period_s": min(LOOK_BACK_S, max(1.0, settings.replica_idle_s)),
        }
    }

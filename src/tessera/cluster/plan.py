"""What Ray Serve is told of a service: one `DeployedModel` for each model, made of plain settings.

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

DOWNSCALE_DELAY_S = 600.0
"""Loading a model takes minutes, so a replica is not given up for a short pause."""


@dataclass(frozen=True, slots=True)
class DeployedModel:
    """One model as an application of Ray Serve.

    `settings` are those that are not secret and differ from their defaults; `options` are the arguments of
    `serve.deployment`.
    """

    application: str
    route: str
    settings: Mapping[str, object]
    options: Mapping[str, Any]


def plan_models(settings: Settings, name: str, surge_percent: int) -> tuple[DeployedModel, ...]:
    """The models of the settings as applications called `name`, or `name.MODEL` if there are several.

    Raises `StartupError` if two models would get the same application.
    """
    if settings.models is None:
        return (_plan_model(settings, name, "/", surge_percent),)
    planned: dict[str, DeployedModel] = {}
    for each in model_settings(settings):
        assert each.model_name is not None
        segment = re.sub(r"[^A-Za-z0-9._-]", "-", each.model_name)
        if segment in planned:
            raise StartupError(f"models has two names that become /{segment}: change one of them.")
        # The pages are made for the root of a server.
        one = replace(each, web=False)
        planned[segment] = _plan_model(one, f"{name}.{segment}", f"/{segment}", surge_percent)
    return tuple(planned.values())


def arguments_of(model: DeployedModel, *, alone: bool = False) -> dict[str, Any]:
    """What `replica.build_application` takes: plain data. `alone` means one replica without shared stores."""
    return {
        "settings": dict(model.settings),
        "options": dict(model.options),
        "version": __version__,
        "alone": alone,
    }


def replica_settings(plain: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """The settings of a replica: those of the plan, and the secret ones of its environment.

    Raises `StartupError` for a variable with a wrong value.
    """
    given = {variable: environment[variable] for variable in SECRETS if variable in environment}
    secret = load({}, given)
    settings = msgspec.convert(plain, Settings, dec_hook=lambda _, text: Path(text))
    return replace(settings, **{name: getattr(secret, name) for name in SECRETS.values()})


def n_replicas(settings: Settings) -> tuple[int, int]:
    """The fewest and the most replicas; raises `StartupError` if they contradict each other."""
    least = settings.min_replicas
    most = max(1, least) if settings.max_replicas is None else settings.max_replicas
    if most < least:
        raise StartupError(f"max_replicas is {most}, less than min_replicas, which is {least}.")
    return least, most


def _plan_model(settings: Settings, application: str, route: str, surge_percent: int) -> DeployedModel:
    return DeployedModel(application, route, _plain(settings), _options(settings, surge_percent))


def _plain(settings: Settings) -> dict[str, object]:
    values: dict[str, object] = msgspec.to_builtins(settings, enc_hook=str)
    rows = [row for row in ROWS if not row.secret and getattr(settings, row.name) != row.default]
    return {row.name: values[row.name] for row in rows}


def _options(settings: Settings, surge_percent: int) -> dict[str, Any]:
    n_places = settings.max_running or math.ceil(1.25 * settings.max_sequences)
    return {
        # A replica's own queue knows priorities, so requests wait there and not in a proxy of Serve.
        "max_ongoing_requests": n_places + settings.max_queued,
        "max_queued_requests": n_places + settings.max_queued,
        "backpressure_config": {"status_code": 503, "retry_after_s": 1},
        "graceful_shutdown_wait_loop_s": 1.0,
        "graceful_shutdown_timeout_s": settings.deadline_s + SLACK_S,
        "max_constructor_retry_count": 3,
        "max_surge_percent": surge_percent,
        "ray_actor_options": _resources(settings),
        **_scale(settings),
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
            "downscale_delay_s": DOWNSCALE_DELAY_S,
        }
    }

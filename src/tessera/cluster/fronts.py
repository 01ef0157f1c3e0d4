"""The deployment of Ray Serve that runs the front; see `front`."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.types import ASGIApp

from tessera.cluster.asking import ServedReplicas
from tessera.cluster.front import build_front
from tessera.cluster.library import Foreign, serve
from tessera.cluster.plan import ServedModel
from tessera.cluster.relayed import relay_key
from tessera.cluster.replica import settings_here
from tessera.server.storage import pepper
from tessera.server.wiring import limits

DEPLOYMENT = "front"


class FrontReplica:
    """The class that Ray Serve makes an actor of."""

    def __init__(
        self,
        plain: Mapping[str, object],
        version: str,
        models: Sequence[tuple[str, list[str], bool]],
        *,
        alone: bool,
    ) -> None:
        """`plain` are the settings of a plan; `models` are `ServedModel`s as plain data."""
        self._settings = settings_here(plain, version, alone=alone)
        self._models = [
            ServedModel(application, tuple(names), sleeps) for application, names, sleeps in models
        ]

    async def __serve_build_asgi_app__(self) -> ASGIApp:
        settings = self._settings
        replicas = ServedReplicas(relay_key(pepper(settings)), settings.deadline_s)
        return build_front(self._models, replicas, limits(settings))


def build_application(arguments: Mapping[str, Any]) -> Foreign:
    """The application of what `plan.arguments_of` returns for a front. A manifest names this function."""
    deployed = serve.deployment(serve.ingress()(FrontReplica), name=DEPLOYMENT, **arguments["options"])
    given = (arguments["settings"], arguments["version"], arguments["models"])
    return deployed.bind(*given, alone=arguments["alone"])

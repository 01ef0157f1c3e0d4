"""The applications of a service on a connected cluster: deploy, show and end them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from tessera.cluster.library import ray, serve
from tessera.cluster.plan import DeployedModel, arguments_of
from tessera.cluster.replica import build_application
from tessera.errors import CommandError


def deploy(models: Sequence[DeployedModel], name: str, *, host: str, port: int, alone: bool) -> None:
    """Runs the applications, or updates those that run, and ends those of `name` that are not among them.

    Returns when all replicas are ready. Raises `CommandError` with what a replica said if one cannot start.
    The address is that of the first deployment: Ray Serve does not change it while it runs.
    """
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    for model in models:
        application = build_application(arguments_of(model, alone=alone))
        try:
            serve.run(application, name=model.application, route_prefix=model.route)
        except RuntimeError as error:
            said: str = serve.status().applications[model.application].message
            raise CommandError(f"{model.application} could not be deployed: {said.strip()}") from error
    kept = {model.application for model in models}
    for application in applications(name):
        if application not in kept:
            serve.delete(application)


def end(name: str) -> list[str]:
    """Ends the applications of `name` when their replies are finished; returns which they were."""
    ended = applications(name)
    for application in ended:
        serve.delete(application)
    return ended


def applications(name: str) -> list[str]:
    """The applications of `name` that the cluster has."""
    known: Mapping[str, Any] = serve.status().applications
    return sorted(each for each in known if each == name or each.startswith(f"{name}."))


def describe(name: str) -> list[dict[str, object]]:
    """A row for each application of `name`: its state, its replicas by state, and what is wrong."""
    status = serve.status()
    n_nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    rows: list[dict[str, object]] = []
    for application in applications(name):
        overview = status.applications[application]
        replicas = Counter[str]()
        for deployment in overview.deployments.values():
            replicas.update({_word(state): n for state, n in deployment.replica_states.items()})
        rows.append(
            {
                "application": application,
                "status": _word(overview.status),
                "deployed_s": overview.last_deployed_time_s,
                "replicas": dict(replicas),
                "nodes": n_nodes,
                "message": overview.message,
            }
        )
    return rows


def _word(state: object) -> str:
    """Ray gives some states as members of an enumeration and others as their values."""
    return str(state.value if isinstance(state, Enum) else state)

"""The applications of a service on a connected cluster: deploy, show and end them."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from tessera.cluster import fronts, replica
from tessera.cluster.library import Foreign, ray, serve
from tessera.cluster.plan import Deployed, arguments_of
from tessera.errors import CommandError

ANSWER_S = 30.0
"""If a replica does not answer in time, because it hangs or is very busy, its model is left out."""


def deploy(applications: Sequence[Deployed], name: str, *, host: str, port: int, alone: bool) -> None:
    """Runs the applications, or updates those that run, and ends those of `name` that are not among them.

    Returns when all replicas are ready. Raises `CommandError` with what a replica said if one cannot start.
    The address is that of the first deployment: Ray Serve does not change it while it runs.
    """
    serve.start(proxy_location="EveryNode", http_options={"host": host, "port": port})
    for each in applications:
        build: Callable[[Mapping[str, Any]], Foreign] = (
            fronts.build_application if each.models else replica.build_application
        )
        try:
            serve.run(build(arguments_of(each, alone=alone)), name=each.application, route_prefix=each.route)
        except RuntimeError as error:
            said: str = serve.status().applications[each.application].message
            raise CommandError(f"{each.application} could not be deployed: {said.strip()}") from error
    kept = {each.application for each in applications}
    for application in names(name):
        if application not in kept:
            serve.delete(application)


def end(name: str) -> list[str]:
    """Ends the applications of `name` when their replies are finished, the front first; returns which they
    were.
    """
    ended = names(name)
    for application in ended:
        serve.delete(application)
    return ended


def names(name: str) -> list[str]:
    """The applications of `name` that the cluster has."""
    known: Mapping[str, Foreign] = serve.status().applications
    return sorted(each for each in known if each == name or each.startswith(f"{name}."))


def describe(name: str) -> list[dict[str, object]]:
    """A row for each application of `name`: its state, its replicas by state, and what is wrong."""
    status = serve.status()
    n_nodes = sum(bool(node["Alive"]) for node in ray.nodes())
    rows: list[dict[str, object]] = []
    for application in names(name):
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


def describe_replicas(name: str) -> list[dict[str, object]]:
    """A row for each running replica of the models: its node, its version, its engines, its requests."""
    return [
        {"application": application, **row}
        for application, rows in broadcast(name, "describe").items()
        for row in rows
    ]


def broadcast(name: str, method: str, *arguments: object) -> dict[str, list[Any]]:
    """What all running replicas of the models answer to a call, by application."""
    return {each: list(_answers(each, method, arguments)) for each in _running_models(name)}


def _running_models(name: str) -> Iterator[str]:
    status = serve.status()
    for application in names(name):
        found = status.applications[application].deployments.get(replica.DEPLOYMENT)
        if found and any(n for state, n in found.replica_states.items() if _word(state) == "RUNNING"):
            yield application


def _answers(application: str, method: str, arguments: Sequence[object]) -> Iterator[Any]:
    handle = serve.get_deployment_handle(replica.DEPLOYMENT, application)
    try:
        answers = handle.broadcast(method, *arguments).results(timeout_s=ANSWER_S, return_exceptions=True)
    except TimeoutError:
        return
    # Those that are just ending give an exception.
    yield from (answer for answer in answers if not isinstance(answer, Exception))


def _word(state: object) -> str:
    """Ray gives some states as members of an enumeration and others as their values."""
    return str(state.value if isinstance(state, Enum) else state)

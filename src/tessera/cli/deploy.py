"""`tessera deploy`: the service on a cluster of Ray."""

import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show
from tessera.cluster.connection import LOCAL, connected
from tessera.cluster.plan import DeployedModel, plan_models
from tessera.cluster.requirements import check_stores, may_be_alone
from tessera.errors import CommandError, StartupError
from tessera.settings import Settings


@dataclass(frozen=True, slots=True)
class Target:
    """Where and as what the service is deployed."""

    address: str | None
    name: str
    insecure: bool
    surge_percent: int
    image: str | None
    secret: str
    as_json: bool


@click.command()
@click.argument("action", type=click.Choice(["run", "status", "end", "manifest"]), default="run")
@click.option(
    "--address", metavar="HOST:PORT", help="A running Ray cluster, of which this machine is a node."
)
@click.option("--local", is_flag=True, help="Start a cluster on this machine; it ends with the command.")
@click.option("--name", default="tessera", show_default=True, help="Name of the service on the cluster.")
@click.option("--insecure-cluster", is_flag=True, help="Accept a cluster that demands no token.")
@click.option(
    "--surge",
    type=click.IntRange(0, 100),
    default=25,
    show_default=True,
    help="Percent of replicas that an update starts before it ends old ones; 0 where there is no room.",
)
@click.option("--image", help="Image of the containers, for a manifest.")
@click.option("--secret", default="tessera", show_default=True, help="Kubernetes Secret, for a manifest.")
@AS_JSON
@with_settings()
def deploy(
    settings: Settings,
    action: str,
    address: str | None,
    local: bool,
    name: str,
    insecure_cluster: bool,
    surge: int,
    image: str | None,
    secret: str,
    as_json: bool,
) -> None:
    """Run the service on a Ray cluster, with the settings of `tessera serve`.

    `run`, which is the default, deploys or updates it; `status` shows it; `end` ends it when its replies are
    finished; `manifest` prints a RayService for KubeRay. Settings that are secret are read by the replicas
    from the environment of their nodes.
    """
    if local and address:
        raise CommandError("Give either --local or --address.")
    if local and action != "run":
        raise CommandError("--local starts a new cluster, so it only goes with run. Give --address.")
    target = Target(LOCAL if local else address, name, insecure_cluster, surge, image, secret, as_json)
    _ACTIONS[action](settings, target)


def _run(settings: Settings, target: Target) -> None:
    models = plan_models(settings, target.name, target.surge_percent)
    if not settings.port:
        raise StartupError("port is 0, and all nodes of a cluster listen on the same port: give one.")
    alone = target.address == LOCAL and may_be_alone(settings)
    check_stores(settings, alone=alone)
    with connected(_address(target), insecure=target.insecure) as head:
        from tessera.cluster.applications import deploy, describe

        deploy(models, target.name, host=settings.host, port=settings.port, alone=alone)
        if target.address != LOCAL:
            show(describe(target.name), target.as_json)
            return
        click.echo(f"Ray's address is {head}.")
        for model in models:
            url = f"http://{settings.host}:{settings.port}{model.route.rstrip('/')}/v1"
            click.echo(f"Serving {model.application} at {url}")
        _wait_for_end(target.name)


def _wait_for_end(name: str) -> None:
    from tessera.cluster.applications import end

    told = threading.Event()

    def tell(number: int, frame: object) -> None:
        told.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, tell)
    told.wait()
    end(name)


def _status(settings: Settings, target: Target) -> None:
    with connected(_address(target), insecure=target.insecure):
        from tessera.cluster.applications import describe

        show(describe(target.name), target.as_json, f"The cluster has no service called {target.name}.")


def _end(settings: Settings, target: Target) -> None:
    with connected(_address(target), insecure=target.insecure):
        from tessera.cluster.applications import end

        if not (ended := end(target.name)):
            raise CommandError(f"The cluster has no service called {target.name}.")
    for application in ended:
        click.echo(f"Ended {application}.")


def _manifest(settings: Settings, target: Target) -> None:
    from tessera.cluster.manifest import ray_service

    if target.image is None:
        raise CommandError("Give --image: an image with Ray and this version of Tessera.")
    models: tuple[DeployedModel, ...] = plan_models(settings, target.name, target.surge_percent)
    manifest = ray_service(settings, models, name=target.name, image=target.image, secret=target.secret)
    click.echo(manifest, nl=False)


def _address(target: Target) -> str:
    if target.address is None:
        raise CommandError("Give --address, or --local to start a cluster on this machine.")
    return target.address


_ACTIONS: Mapping[str, Callable[[Settings, Target], None]] = {
    "run": _run,
    "status": _status,
    "end": _end,
    "manifest": _manifest,
}

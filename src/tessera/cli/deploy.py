"""`tessera deploy`: the service on a cluster of Ray."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import click

from tessera.cli.options import with_settings
from tessera.cli.rows import AS_JSON, show
from tessera.cluster.connection import LOCAL, connected
from tessera.cluster.plan import plan_service
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
@click.argument(
    "action", type=click.Choice(["run", "status", "replicas", "admin", "end", "manifest"]), default="run"
)
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

    `run`, which is the default, deploys or updates it; `status` shows its applications and `replicas` their
    replicas; `admin` serves the console, the admin API and the metrics of all replicas; `end` ends it when
    its replies are finished; `manifest` prints a RayService for KubeRay. Settings that are secret are read by
    the replicas from the environment of their nodes.
    """
    if local and address:
        raise CommandError("Give either --local or --address.")
    if local and action != "run":
        raise CommandError("--local starts a new cluster, so it only goes with run. Give --address.")
    target = Target(LOCAL if local else address, name, insecure_cluster, surge, image, secret, as_json)
    _ACTIONS[action](settings, target)


def _run(settings: Settings, target: Target) -> None:
    applications = plan_service(settings, target.name, target.surge_percent)
    if not settings.port:
        raise StartupError("port is 0, and all nodes of a cluster listen on the same port: give one.")
    alone = target.address == LOCAL and may_be_alone(settings)
    check_stores(settings, alone=alone)
    with connected(_address(target), insecure=target.insecure) as head:
        from tessera.cluster.applications import deploy, describe, end

        deploy(applications, target.name, host=settings.host, port=settings.port, alone=alone)
        if target.address != LOCAL:
            show(describe(target.name), target.as_json)
            return
        click.echo(f"Ray's address is {head}.")
        click.echo(f"Serving {target.name} at http://{settings.host}:{settings.port}/v1")
        asyncio.run(_until_signal(settings, target.name))
        end(target.name)


async def _until_signal(settings: Settings, name: str) -> None:
    """Serves the admin listener, if the settings have one, until SIGINT or SIGTERM."""
    from tessera.cluster.admin import serving

    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with AsyncExitStack() as stack:
        if settings.admin_port is not None:
            url = await stack.enter_async_context(serving(settings, name))
            click.echo(f"Serving the metrics of all replicas at {url}/metrics")
        await told.wait()


def _admin(settings: Settings, target: Target) -> None:
    if settings.admin_port is None:
        raise StartupError("admin_port is not set: give --admin-port.")
    with connected(_address(target), insecure=target.insecure):
        asyncio.run(_until_signal(settings, target.name))


def _status(settings: Settings, target: Target) -> None:
    with connected(_address(target), insecure=target.insecure):
        from tessera.cluster.applications import describe

        show(describe(target.name), target.as_json, f"The cluster has no service called {target.name}.")


def _replicas(settings: Settings, target: Target) -> None:
    with connected(_address(target), insecure=target.insecure):
        from tessera.cluster.applications import describe_replicas

        show(describe_replicas(target.name), target.as_json, f"{target.name} has no running replica.")


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
    applications = plan_service(settings, target.name, target.surge_percent)
    manifest = ray_service(settings, applications, name=target.name, image=target.image, secret=target.secret)
    click.echo(manifest, nl=False)


def _address(target: Target) -> str:
    if target.address is None:
        raise CommandError("Give --address, or --local to start a cluster on this machine.")
    return target.address


_ACTIONS: Mapping[str, Callable[[Settings, Target], None]] = {
    "run": _run,
    "status": _status,
    "replicas": _replicas,
    "admin": _admin,
    "end": _end,
    "manifest": _manifest,
}

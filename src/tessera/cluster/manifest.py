"""A service as a KubeRay `RayService`, in YAML. Secret settings are references to a Secret of Kubernetes."""

import math
from collections.abc import Sequence
from typing import Any

import yaml

from tessera import __version__
from tessera.cluster.plan import SECRETS, Deployed, arguments_of, n_replicas
from tessera.settings import Settings, model_settings

RAY_VERSION = "2.60.0"
HTTP_PORT = 8000
_HEAD_LIMITS = {"cpu": "2", "memory": "4Gi"}
_BUILDERS = {
    True: "tessera.cluster.fronts:build_application",
    False: "tessera.cluster.replica:build_application",
}
_NEEDED = ("TESSERA_DATABASE_URL", "TESSERA_REDIS_URL", "TESSERA_PEPPER")
_UNUSED = ("TESSERA_ADMIN_KEY",)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""


def _represent_text(dumper: Any, text: str) -> Any:  # noqa: ANN401 - PyYAML is untyped
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def ray_service(
    settings: Settings, applications: Sequence[Deployed], *, name: str, image: str, secret: str
) -> str:
    """The manifest of the applications. Secret settings are the keys of the Secret `secret`."""
    models = model_settings(settings)
    groups = [_worker_group(number, each, image, secret) for number, each in enumerate(models)]
    groups.append(_front_group(settings, image, secret))
    scales = any(group["minReplicas"] != group["maxReplicas"] for group in groups)
    cluster: dict[str, object] = {
        "rayVersion": RAY_VERSION,
        "authOptions": {"mode": "token"},
        **({"enableInTreeAutoscaling": True} if scales else {}),
        "headGroupSpec": {
            # No replica runs on the head, so its death ends no reply.
            "rayStartParams": {"num-cpus": "0"},
            "template": _pod("ray-head", image, secret, _HEAD_LIMITS),
        },
        "workerGroupSpecs": groups,
    }
    return _yaml(
        {
            "apiVersion": "ray.io/v1",
            "kind": "RayService",
            "metadata": {"name": name, "labels": {"app.kubernetes.io/version": __version__}},
            "spec": {"serveConfigV2": _yaml(serve_config(applications)), "rayClusterConfig": cluster},
        }
    )


def serve_config(applications: Sequence[Deployed]) -> dict[str, object]:
    """The applications as Ray Serve's own configuration file has them."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": HTTP_PORT},
        "applications": [
            {
                "name": each.application,
                "route_prefix": each.route,
                "import_path": _BUILDERS[bool(each.models)],
                "args": arguments_of(each),
            }
            for each in applications
        ],
    }


def _worker_group(number: int, settings: Settings, image: str, secret: str) -> dict[str, Any]:
    """Pods for the replicas of one model, each as large as one replica needs."""
    least, most = n_replicas(settings)
    limits: dict[str, object] = {"cpu": str(max(1, math.ceil(settings.replica_cpus)))}
    if settings.replica_memory_bytes:
        limits["memory"] = str(settings.replica_memory_bytes)
    if settings.replica_gpus:
        limits["nvidia.com/gpu"] = str(math.ceil(settings.replica_gpus))
    return _group(f"model-{number}", least, most, _pod("ray-worker", image, secret, limits))


def _front_group(settings: Settings, image: str, secret: str) -> dict[str, Any]:
    """Pods for the fronts, which have the addresses that clients reach."""
    limits = {"cpu": str(max(1, math.ceil(settings.front_cpus)))}
    n = settings.front_replicas
    return _group("front", n, n, _pod("ray-worker", image, secret, limits))


def _group(name: str, least: int, most: int, template: dict[str, object]) -> dict[str, Any]:
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": template,
    }


def _pod(container: str, image: str, secret: str, limits: dict[str, Any]) -> dict[str, object]:
    variables: list[dict[str, object]] = [{"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}]
    for variable in SECRETS:
        if variable not in _UNUSED:
            key = {"name": secret, "key": variable, "optional": variable not in _NEEDED}
            variables.append({"name": variable, "valueFrom": {"secretKeyRef": key}})
    return {
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {
                    "name": container,
                    "image": image,
                    "env": variables,
                    "resources": {"limits": limits, "requests": dict(limits)},
                }
            ],
        }
    }


def _yaml(value: object) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)

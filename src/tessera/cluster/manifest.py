"""A service as a KubeRay `RayService`, in YAML. Secret settings are references to a Secret of Kubernetes."""

import math
from collections.abc import Sequence
from typing import Any

import yaml

from tessera import __version__
from tessera.cluster.plan import SECRETS, DeployedModel, arguments_of, n_replicas
from tessera.settings import Settings, model_settings

RAY_VERSION = "2.60.0"
HTTP_PORT = 8000
_HEAD_LIMITS = {"cpu": "2", "memory": "4Gi"}
_BUILDER = "tessera.cluster.replica:build_application"
_NEEDED = ("TESSERA_DATABASE_URL", "TESSERA_REDIS_URL", "TESSERA_PEPPER")
_UNUSED = ("TESSERA_ADMIN_KEY",)


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block."""


def _represent_text(dumper: Any, text: str) -> Any:  # noqa: ANN401 - PyYAML is untyped
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def ray_service(
    settings: Settings, models: Sequence[DeployedModel], *, name: str, image: str, secret: str
) -> str:
    """The manifest of the models. The secret settings of replicas are the keys of the Secret `secret`."""
    groups = [
        _worker_group(number, each, image, secret) for number, each in enumerate(model_settings(settings))
    ]
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
            "spec": {"serveConfigV2": _yaml(serve_config(models)), "rayClusterConfig": cluster},
        }
    )


def serve_config(models: Sequence[DeployedModel]) -> dict[str, object]:
    """The applications as Ray Serve's own configuration file has them."""
    return {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": HTTP_PORT},
        "applications": [
            {
                "name": model.application,
                "route_prefix": model.route,
                "import_path": _BUILDER,
                "args": arguments_of(model),
            }
            for model in models
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
    return {
        "groupName": f"model-{number}",
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": _pod("ray-worker", image, secret, limits),
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

import re
from pathlib import Path
from typing import Any

import yaml

from tessera.cluster.manifest import RAY_VERSION, ray_service
from tessera.cluster.plan import arguments_of, plan_service
from tessera.configuration import load

ROOT = Path(__file__).parents[3]
KEY = "sk-tessera-" + "s" * 40


def manifest(flags: dict[str, str]) -> dict[str, Any]:
    settings = load(flags, {"TESSERA_API_KEY": KEY})
    applications = plan_service(settings, "chat", 25)
    written = ray_service(settings, applications, name="chat", image="registry.example/t:1", secret="keys")
    assert KEY not in written
    return yaml.safe_load(written)


def import_of(path: str) -> Path:
    """The file of the module that a builder is in."""
    return ROOT / "src" / (path.partition(":")[0].replace(".", "/") + ".py")


def test_the_manifest_has_the_applications_as_they_are_deployed() -> None:
    flags = {"engine": "scripted", "min_replicas": "2"}
    config = yaml.safe_load(manifest(flags)["spec"]["serveConfigV2"])
    planned = plan_service(load(flags, {}), "chat", 25)
    shown = [(each["name"], each["route_prefix"], each["args"]) for each in config["applications"]]
    assert shown == [(each.application, each.route, arguments_of(each)) for each in planned]
    builders = [import_of(each["import_path"]) for each in config["applications"]]
    assert [builder.exists() for builder in builders] == [True, True]


def test_pods_are_as_large_as_a_replica_and_get_secrets_from_the_secret() -> None:
    flags = {"min_replicas": "2", "max_replicas": "5", "replica_cpus": "3.5", "replica_gpus": "1"}
    cluster = manifest(flags)["spec"]["rayClusterConfig"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    group, fronts = cluster["workerGroupSpecs"]
    assert (fronts["minReplicas"], fronts["maxReplicas"]) == (1, 1)
    assert (group["minReplicas"], group["maxReplicas"]) == (2, 5)
    (container,) = group["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"cpu": "4", "nvidia.com/gpu": "1"}
    keys = {each["name"]: each.get("valueFrom") for each in container["env"]}
    needed = {"name": "keys", "key": "TESSERA_PEPPER", "optional": False}
    assert keys["TESSERA_PEPPER"] == {"secretKeyRef": needed}
    assert keys["TESSERA_API_KEY"]["secretKeyRef"]["optional"] is True
    assert keys["RAY_USAGE_STATS_ENABLED"] is None


def test_the_version_of_ray_is_the_one_that_is_tested() -> None:
    pins = (ROOT / "requirements/ray.txt").read_text()
    assert re.findall(r"^ray\[serve\]==(\S+)", pins, re.MULTILINE) == [RAY_VERSION]

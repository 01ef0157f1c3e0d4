"""`tessera deploy`: what it refuses, and one replica from its start to its end."""

from tests.ray.conftest import FLAGS, Home
from tests.serving import free_port


def test_several_replicas_are_refused_without_what_they_share(home: Home) -> None:
    done = home.run("deploy", "--local", "--min-replicas", 2, *FLAGS)
    assert done.returncode == 2
    for variable in ("TESSERA_DATABASE_URL", "TESSERA_REDIS_URL", "TESSERA_PEPPER"):
        assert variable in done.stderr
    assert "Traceback" not in done.stderr


def test_a_redis_that_does_not_answer_is_refused(home: Home, stores: dict[str, str]) -> None:
    variables = {**stores, "TESSERA_REDIS_URL": "redis://user:secret@127.0.0.1:1/0"}
    done = home.run("deploy", "--local", "--min-replicas", 2, *FLAGS, **variables)
    assert done.returncode == 2
    assert "Redis of TESSERA_REDIS_URL does not answer" in done.stderr
    assert "secret" not in done.stderr


def test_a_cluster_without_authentication_is_refused(home: Home) -> None:
    done = home.run("deploy", "--local", *FLAGS, RAY_AUTH_MODE="disabled")
    assert done.returncode == 2
    assert "--insecure-cluster" in done.stderr


def test_one_replica_needs_no_stores_and_is_shown_and_ended(home: Home) -> None:
    flags = (*FLAGS, "--port", free_port(), "--insecure-cluster")
    with home.cluster(*flags, RAY_AUTH_MODE="disabled") as cluster:
        assert len(cluster.replicas("tessera.model")) == 1
        at = ("--address", cluster.address)
        refused = home.run("deploy", "status", *at, RAY_AUTH_TOKEN="t" * 64)
        assert refused.returncode == 2
        assert "answers without a token" in refused.stderr
        home.environment["RAY_AUTH_MODE"] = "disabled"
        rows = home.told("deploy", "status", *at, "--insecure-cluster")
        assert [(row["application"], row["status"], row["replicas"]) for row in rows] == [
            ("tessera", "RUNNING", {"RUNNING": 1}),
            ("tessera.model", "RUNNING", {"RUNNING": 1}),
        ]
        ended = home.run("deploy", "end", *at, "--insecure-cluster")
        assert (ended.returncode, ended.stdout) == (0, "Ended tessera.\nEnded tessera.model.\n")
        assert home.told("deploy", "status", *at, "--insecure-cluster") == []
        assert cluster.replicas("tessera.model") == []

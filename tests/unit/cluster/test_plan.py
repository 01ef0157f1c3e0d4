import dataclasses

import msgspec
import pytest

from tessera.cluster.plan import SECRETS, ServedModel, arguments_of, plan_service, replica_settings
from tessera.cluster.requirements import may_be_alone, require_stores
from tessera.configuration import load
from tessera.errors import StartupError
from tessera.settings import ROWS, Settings

KEY = "sk-tessera-" + "s" * 40
STORES = {
    "TESSERA_API_KEY": KEY,
    "TESSERA_DATABASE_URL": "postgresql://tessera:hidden@db.example/tessera",
    "TESSERA_PEPPER": "p" * 32,
    "TESSERA_REDIS_URL": "redis://:hidden@redis.example:6379/0",
}
FLAGS = {
    "engine": "scripted",
    "cache_dir": "/models/cache",
    "tiers": "{lite = {concurrency = 8}}",
    "aliases": "one,two",
    "kv_cache_bytes": "2GiB",
}


def test_a_replica_gets_the_settings_again_with_the_secrets_of_its_environment() -> None:
    settings = load(FLAGS, STORES)
    model, front = plan_service(settings, "tessera", 25)
    # Ray keeps arguments as JSON where they come from a manifest.
    plain = msgspec.json.decode(msgspec.json.encode(arguments_of(model)))["settings"]
    assert replica_settings(arguments_of(front)["settings"], STORES) == settings
    assert replica_settings(plain, STORES) == settings
    others = {**STORES, "TESSERA_PEPPER": "q" * 32, "TESSERA_PORT": "9", "PATH": "/bin"}
    assert replica_settings(plain, others) == dataclasses.replace(settings, pepper="q" * 32)


def test_a_front_gets_the_tables_of_all_models() -> None:
    models = '{a = {threads = 2, aliases = ["x"], precision = "f32"}, b = {scripted_tokens_per_s = 2.5}}'
    settings = load({"models": models}, STORES)
    *_, front = plan_service(settings, "tessera", 25)
    plain = msgspec.json.decode(msgspec.json.encode(arguments_of(front)))["settings"]
    given = replica_settings(plain, STORES).models
    assert msgspec.to_builtins(given) == msgspec.json.decode(msgspec.json.encode(settings.models))


def test_a_plan_holds_no_secret() -> None:
    settings = load(FLAGS, {**STORES, "TESSERA_ADMIN_KEY": "a" * 40})
    written = repr([arguments_of(model) for model in plan_service(settings, "tessera", 25)])
    assert [value for value in (KEY, "hidden", "p" * 32, "a" * 40) if value in written] == []
    assert set(SECRETS.values()) == {row.name for row in ROWS if row.secret}


def test_a_wrong_secret_is_named_and_not_shown() -> None:
    with pytest.raises(StartupError) as refused:
        replica_settings({}, {"TESSERA_PEPPER": "short"})
    assert "TESSERA_PEPPER" in refused.value.message
    assert "short" not in refused.value.message


def test_several_models_have_a_scale_each_and_one_address() -> None:
    large_table = 'aliases = ["big"], min_replicas = 2, replica_gpus = 1.0'
    models = f'{{"Qwen/Qwen3" = {{{large_table}}}, small = {{min_replicas = 0, max_replicas = 4}}}}'
    settings = load({"models": models, "max_sequences": "8", "deadline_s": "100"}, {})
    large, small, front = plan_service(settings, "chat", 10)
    assert (large.application, small.application, front.application) == (
        "chat.Qwen-Qwen3",
        "chat.small",
        "chat",
    )
    assert (large.route, small.route, front.route) == (None, None, "/")
    assert front.models == (
        ServedModel("chat.Qwen-Qwen3", ("Qwen/Qwen3", "big"), may_sleep=False),
        ServedModel("chat.small", ("small",), may_sleep=True),
    )
    assert large.options["num_replicas"] == 2
    assert large.options["ray_actor_options"] == {"num_cpus": 1.0, "num_gpus": 1.0}
    assert large.settings["model_name"] == "Qwen/Qwen3"
    assert large.options["graceful_shutdown_timeout_s"] > 100
    assert "num_replicas" not in small.options
    scale = small.options["autoscaling_config"]
    assert (scale["min_replicas"], scale["max_replicas"], scale["target_ongoing_requests"]) == (0, 4, 8)


def test_a_replica_accepts_what_its_own_queue_can_hold() -> None:
    model, _ = plan_service(Settings(max_running=10, max_queued=7), "tessera", 25)
    assert model.options["max_ongoing_requests"] == 17


def test_models_whose_applications_are_the_same_are_refused() -> None:
    with pytest.raises(StartupError, match=r"tessera\.a-b"):
        plan_service(load({"models": '{"a/b" = {}, "a-b" = {}}'}, {}), "tessera", 25)


def test_models_with_a_name_in_common_are_refused() -> None:
    with pytest.raises(StartupError, match="Two models have the name b"):
        plan_service(load({"models": '{a = {aliases = ["b"]}, b = {}}'}, {}), "tessera", 25)


def test_fewer_replicas_at_most_than_at_least_are_refused() -> None:
    with pytest.raises(StartupError, match="max_replicas is 1, less than min_replicas, which is 2"):
        plan_service(Settings(min_replicas=2, max_replicas=1), "tessera", 25)


@pytest.mark.parametrize("variable", ["TESSERA_DATABASE_URL", "TESSERA_PEPPER", "TESSERA_REDIS_URL"])
def test_what_replicas_share_is_required(variable: str) -> None:
    require_stores(load({}, STORES))
    settings = load({}, {name: value for name, value in STORES.items() if name != variable})
    with pytest.raises(StartupError, match=variable):
        require_stores(settings)
    require_stores(settings, alone=True)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, True),
        ({"min_replicas": "0"}, True),
        ({"min_replicas": "2"}, False),
        ({"max_replicas": "2"}, False),
        ({"models": "{a = {}, b = {}}"}, False),
    ],
)
def test_only_one_replica_of_one_model_is_alone(flags: dict[str, str], expected: bool) -> None:
    assert may_be_alone(load(flags, {})) is expected

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tessera.observe.exposition import ParentMetrics, exposition
from tessera.observe.metrics import Metrics

ENGINE = {
    "running": 3,
    "waiting": 2,
    "blocks_used": 25,
    "blocks_total": 100,
    "n_steps": 9,
    "prefix_queries": 40,
    "prefix_hits": 10,
    "n_restarts": 1,
}


def samples(text: bytes) -> dict[str, float]:
    families = text_string_to_metric_families(text.decode())
    return {sample.name: sample.value for family in families for sample in family.samples}


def test_the_engines_counts_are_shown_as_they_are_when_asked() -> None:
    counts = dict(ENGINE)
    ask = exposition(Metrics(), lambda: {"m": counts})
    assert samples(ask())["tessera_engine_steps_total"] == 9
    counts["n_steps"] = 10
    shown = samples(ask())
    assert shown["tessera_engine_steps_total"] == 10
    assert shown["tessera_kv_cache_usage_perc"] == 0.25
    assert shown["tessera_prefix_cache_hits_total"] == 10
    assert shown["tessera_engine_sequences_waiting"] == 2
    assert shown["tessera_engine_restarts_total"] == 1


def test_free_space_is_that_of_the_folder_and_absent_without_one(tmp_path: Path) -> None:
    name = "tessera_disk_free_bytes"
    assert samples(exposition(None, dict, parent=ParentMetrics(tmp_path))())[name] > 0
    assert name not in samples(exposition(None, dict, parent=ParentMetrics(tmp_path / "none"))())
    assert name not in samples(exposition(None, dict)())


def test_an_engine_that_says_nothing_shows_nothing() -> None:
    assert not any("engine" in name for name in samples(exposition(Metrics(), dict)()))


WORKER = """
from tessera.core.chat import ChatRequest
from tessera.core.record import RequestRecord, RequestStep
from tessera.observe.metrics import Metrics
from tessera.observe.requests import RequestMetrics
with RequestRecord("t", "a", "k", readers=[RequestMetrics(Metrics())]) as record:
    record.ask(ChatRequest(()), reply_id="r", model="m", streamed=False)
    record.reach(RequestStep.READ)
    record.reach(RequestStep.STARTED)
    record.tally.prompt_tokens = 5
"""
ASK = """
import sys
from pathlib import Path
from tessera.observe.exposition import exposition
sys.stdout.buffer.write(exposition(None, lambda: {"m": {"n_steps": 4}}, Path(sys.argv[1]))())
"""


def test_the_counts_of_several_processes_are_added_up(tmp_path: Path) -> None:
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", WORKER], env=environment, check=True, stderr=subprocess.DEVNULL)
    asked = subprocess.run([sys.executable, "-c", ASK, str(tmp_path)], capture_output=True, check=True)
    shown = samples(asked.stdout)
    assert shown["tessera_prompt_tokens_total"] == 10
    assert shown["tessera_request_queue_time_seconds_count"] == 2
    assert shown["tessera_engine_steps_total"] == 4

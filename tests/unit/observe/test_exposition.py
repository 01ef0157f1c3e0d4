from prometheus_client.parser import text_string_to_metric_families

from tessera.observe.exposition import exposition, merged
from tessera.observe.metrics import Metrics


def test_what_replicas_expose_is_one_text_with_their_names() -> None:
    texts: dict[str, bytes] = {}
    for name, n in (("a", 1), ("b", 2)):
        metrics = Metrics()
        metrics.responses.labels("200").inc(n)
        texts[name] = exposition(metrics, lambda: {"mine": {"up": 1}})()
    text = merged(texts).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert text.count("# TYPE tessera_engine_up ") == 1
    ups = {sample.labels["replica"]: sample.value for sample in families["tessera_engine_up"].samples}
    assert ups == {"a": 1.0, "b": 1.0}
    counts = [
        (sample.labels["replica"], sample.value)
        for family in families.values()
        for sample in family.samples
        if sample.name == "tessera_http_responses_total"
    ]
    assert counts == [("a", 1.0), ("b", 2.0)]

"""The plot is a document with every figure in it."""

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.bench.figures import Figure, Measures, measure_round
from tessera.bench.plot import plot, ticks
from tessera.bench.rounds import Round
from tessera.bench.sample import Failure, Sample

SVG = "{http://www.w3.org/2000/svg}"


def measures(tokens_per_s: float, first_s: float | None) -> Measures:
    times = (first_s, 1.0) if first_s is not None else ()
    n = round(tokens_per_s)
    return measure_round(Round(1.0, (Sample(times, 1.0, n, "usage"), Failure("cut off", ""))))


FIGURES = [
    Figure(server, shape, n, (measures(speed * n, 0.01 * n),))
    for shape in ("chat", "long")
    for n in (1, 8, 16)
    for server, speed in (("a <&> b", 90), ("llama.cpp", 40), ("third", 10))
]


def marks(document: str, kind: str) -> list[ElementTree.Element]:
    return [each for each in ElementTree.fromstring(document).iter() if each.get("class") == kind]


def test_there_is_a_point_for_each_figure_in_each_panel() -> None:
    document = plot(FIGURES)
    assert len(marks(document, "panel")) == 4
    assert len(marks(document, "point")) == 2 * len(FIGURES)
    assert len(marks(document, "key")) == 3
    lines = [each for each in marks(document, "line") if each.tag == f"{SVG}polyline"]
    assert [len((each.get("points") or "").split()) for each in lines] == [3] * 12


def test_axes_have_their_units_and_names_are_escaped() -> None:
    texts = [each.text for each in ElementTree.fromstring(plot(FIGURES)).iter(f"{SVG}text")]
    assert {"tokens/s", "ms", "concurrent streams", "a <&> b", "16", "Throughput: long"} <= set(texts)


def test_more_is_higher_and_further_right_and_all_is_inside() -> None:
    document = plot([each for each in FIGURES if each.shape == "chat" and each.server == "third"])
    root = ElementTree.fromstring(document)
    _, _, width, height = map(float, (root.get("viewBox") or "").split())
    points = [(float(each.get("cx") or 0), float(each.get("cy") or 0)) for each in marks(document, "point")]
    assert len(points) == 6
    assert all(0 < x < width and 0 < y < height for x, y in points)
    for panel in (points[:3], points[3:]):
        assert [x for x, _ in panel] == sorted(x for x, _ in panel)
        assert [y for _, y in panel] == sorted((y for _, y in panel), reverse=True)


def test_what_was_not_measured_has_no_point() -> None:
    figures = [Figure("a", "chat", 1, (measures(10, None),)), Figure("a", "chat", 8, (measures(10, 0.1),))]
    assert len(marks(plot(figures), "point")) == 3


@pytest.mark.parametrize(
    ("most", "step", "end"), [(531, 200, 600), (5427, 2000, 6000), (0, 0.25, 1), (1, 0.2, 1), (95, 20, 100)]
)
def test_ticks_are_round_numbers(most: float, step: float, end: float) -> None:
    assert ticks(most) == pytest.approx((step, end))


@given(st.floats(1e-6, 1e9))
def test_ticks_reach_what_is_shown_and_not_far_beyond(most: float) -> None:
    step, end = ticks(most)
    assert most <= end * 1.001
    assert end < most + step * 1.001
    assert 2 <= round(end / step) <= 6

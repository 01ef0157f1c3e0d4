"""Lanes of a model with windows: of whatever is kept, no cell has a single id."""

from tests.unit.engine.llamacpp.cells import NotedCells

from tessera.engine.batch.blocks import BLOCK_TOKENS
from tessera.engine.llamacpp.lanes import Lanes

SEAT, EMPTY, LANES = 0, 1, range(2, 4)


def test_what_is_kept_has_two_ids_until_it_is_dropped() -> None:
    cells = NotedCells()
    lanes = Lanes(cells, LANES, EMPTY, twins=True)
    tokens = list(range(2 * BLOCK_TOKENS))
    cells.write(SEAT, tokens, 0)
    assert lanes.keep(SEAT, block=7, index=0, before=None)
    assert lanes.keep(SEAT, block=8, index=1, before=7)
    lane, twin = LANES[0], LANES[0] + len(LANES)
    assert cells.held[lane] == cells.held[twin] == dict(enumerate(tokens))
    assert not {lane, twin} & cells.states.keys()
    lanes.drop(8)
    assert cells.held[lane] == cells.held[twin] == dict(enumerate(tokens[:BLOCK_TOKENS]))


def test_without_windows_a_lane_is_one_id() -> None:
    cells = NotedCells()
    lanes = Lanes(cells, LANES)
    cells.write(SEAT, list(range(BLOCK_TOKENS)), 0)
    assert lanes.keep(SEAT, block=7, index=0, before=None)
    assert [id for id, held in cells.held.items() if held] == [SEAT, LANES[0]]

"""A model for which there is not enough memory is a failed start, soon and with a reason, on every engine."""

import asyncio
from dataclasses import dataclass

import pytest
from tests.hosted import changed, private

from tessera.engine.host.frames import Start
from tessera.engine.host.process import worker_command
from tessera.errors import EngineUnavailable

pytestmark = [pytest.mark.live, pytest.mark.anyio]

WITHIN_S = 300.0
GIB = 2**30


@dataclass(frozen=True)
class Case:
    """An engine, named by its fixture, in a process that may have `limit` bytes; its cache needs more."""

    engine: str
    limit: int
    kv_cache_bytes: int
    reason: str


CASES = [
    Case("openvino_start", 6 * GIB, 16 * GIB, "alloc"),
    Case("llama_start", 3 * GIB // 2, 4 * GIB, "llama.cpp cannot make a context"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine)
async def test_an_engine_without_enough_memory_does_not_start(
    case: Case, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    config: Start = request.getfixturevalue(case.engine)
    limited = ("sh", "-c", f'ulimit -v {case.limit // 1024}; exec "$@"', "sh", *worker_command())
    engine = private(changed(config, kv_cache_bytes=case.kv_cache_bytes), command=limited)
    with pytest.raises(EngineUnavailable, match="did not start: it ended with"):
        async with asyncio.timeout(WITHIN_S):
            await engine.start()
    await engine.aclose()
    assert case.reason in capfd.readouterr().err

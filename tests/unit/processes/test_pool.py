import pytest

from tessera.errors import EngineOverloaded
from tessera.processes.pool import ProcessPool


@pytest.mark.anyio
async def test_a_process_that_ends_of_a_bug_is_no_verdict_on_the_question() -> None:
    pool = ProcessPool("tessera.schemas.validation_process", b"", purpose="the validation of their replies")
    try:
        with pytest.raises(EngineOverloaded):
            await pool.ask(b"no question")
        assert await pool.ask(b'{"checks":[]}')
    finally:
        await pool.aclose()

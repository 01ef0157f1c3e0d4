"""Clients ask about their usage; the service asks what accounts have spent of their budgets."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tessera.core.usage import UsageQuestion, UsageSum
from tessera.errors import StoreUnavailable
from tessera.store import usage
from tessera.store.database import open_database
from tessera.store.migration import upgrade
from tessera.usage.reading import UsageReader

pytestmark = pytest.mark.anyio


@pytest.fixture
def reader(tmp_path: Path) -> UsageReader:
    store = open_database(f"sqlite:///{tmp_path / 'tessera.db'}")
    upgrade(store)
    return UsageReader(store, ThreadPoolExecutor(2))


async def test_however_many_questions_one_account_asks_budgets_are_read_and_others_have_their_turn(
    reader: UsageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer, answered = threading.Event(), list[str | None]()

    def slowly(connection: object, question: UsageQuestion) -> list[UsageSum]:
        may_answer.wait(60)
        answered.append(question.account)
        return []

    monkeypatch.setattr(usage, "add_up", slowly)
    flood = [asyncio.create_task(reader.add_up(UsageQuestion(account="flood"))) for _ in range(50)]
    await asyncio.sleep(0)
    other = asyncio.create_task(reader.add_up(UsageQuestion(account="other")))
    assert await reader.spent("other") == {}
    may_answer.set()
    assert await other == []
    assert answered.index("other") <= 1
    await asyncio.gather(*flood)
    await reader.aclose()


async def test_questions_that_wait_too_long_are_refused(
    reader: UsageReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_answer = threading.Event()
    monkeypatch.setattr("tessera.usage.reading.READING_WAIT_S", 0.05)
    monkeypatch.setattr(usage, "add_up", lambda *_: [] if may_answer.wait(60) else None)
    questions = [reader.add_up(UsageQuestion(account="flood")) for _ in range(5)]
    outcomes = await asyncio.gather(*questions, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    may_answer.set()
    await reader.aclose()

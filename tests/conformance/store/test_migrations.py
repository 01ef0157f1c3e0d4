from concurrent.futures import ThreadPoolExecutor

import pytest

from tessera.errors import OperatorError, StoreUnavailable
from tessera.store.holders import Holders
from tessera.store.migration import current, differences, downgrade, latest, upgrade
from tessera.store.opening import open_store


def test_up_down_and_up_again(database: str) -> None:
    store = open_store(database)
    assert current(store) is None
    for _ in range(2):
        upgrade(store)
        assert current(store) == latest()
        assert differences(store) == []
        downgrade(store, "base")
        assert current(store) is None
        assert differences(store) != []
    store.dispose()


def test_several_servers_start_at_once(database: str) -> None:
    stores = [open_store(database) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(upgrade, stores))
    assert differences(stores[0]) == []
    for store in stores:
        store.dispose()


def test_a_revision_that_is_not_known_is_refused_and_nothing_changes(database: str) -> None:
    store = open_store(database)
    upgrade(store)
    with pytest.raises(OperatorError, match="nowhere"):
        downgrade(store, "nowhere")
    assert current(store) == latest()
    store.dispose()


def test_a_store_without_tables_is_unavailable(database: str) -> None:
    store = open_store(database)
    with pytest.raises(StoreUnavailable):
        Holders(store).find(b"d" * 32)
    store.dispose()

from collections.abc import Iterator

import pytest

from tessera.store.migration import upgrade
from tessera.store.opening import Store, open_store


@pytest.fixture
def opened(database: str) -> Iterator[Store]:
    """An empty store of each kind, up to date."""
    store = open_store(database)
    upgrade(store)
    yield store
    store.dispose()

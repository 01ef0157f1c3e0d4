from collections.abc import Iterator

import pytest

from tessera.store.database import Database, open_database
from tessera.store.migration import upgrade


@pytest.fixture
def opened(database: str) -> Iterator[Database]:
    """An empty store of each kind, up to date."""
    store = open_database(database)
    upgrade(store)
    yield store
    store.dispose()

from collections.abc import Callable
from typing import Any

import pytest
from tests.scripts import CAN_ALL


@pytest.fixture
def served(serve: Callable[..., Any]) -> Any:
    return serve(features=CAN_ALL)

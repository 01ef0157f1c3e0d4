import pytest

from tessera.errors import EngineUnavailable
from tessera.http.inflight import InFlight


def test_in_flight_counts_and_drains() -> None:
    in_flight = InFlight()
    with in_flight:
        assert in_flight.n == 1
        in_flight.drain()
        with pytest.raises(EngineUnavailable) as caught, in_flight:
            pass
    assert in_flight.n == 0
    assert caught.value.code == "draining"

from tests.conformance.http.conftest import connect, gate
from tests.serving import environment, service, start

__all__ = ["connect", "environment", "gate", "service", "start"]

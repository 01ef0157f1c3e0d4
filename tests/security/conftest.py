from tests.conformance.http.conftest import connect, gate

__all__ = ["connect", "gate"]

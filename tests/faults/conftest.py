from tests.serving import environment, service, start

__all__ = ["environment", "service", "start"]

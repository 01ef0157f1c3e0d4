from tests.serving import environment, serve, start

__all__ = ["environment", "serve", "start"]

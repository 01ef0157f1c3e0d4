"""Tessera: a server for chat completions with open models."""

__version__ = "0.1.0"

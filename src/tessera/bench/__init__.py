"""Measures any server that speaks OpenAI's API, over HTTP on this machine. Imports nothing of the service."""

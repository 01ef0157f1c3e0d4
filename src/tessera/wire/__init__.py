"""OpenAI's JSON to our types and back: pure functions, and the only place with OpenAI's names.

Reading order: `request`, `decode`, `messages`, `tools`, `reply`, `stream`.
"""

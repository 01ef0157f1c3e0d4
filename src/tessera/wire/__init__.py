"""Converts OpenAI's JSON to core types and back, in pure functions. Only this package has OpenAI's names."""

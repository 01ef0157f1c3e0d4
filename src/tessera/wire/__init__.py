"""OpenAI's JSON to our types and back: pure functions, and the only place that knows OpenAI's names."""

"""The nouns that travel between the stages: frozen values, made with the standard library only.

A `ChatRequest` becomes a `Prompt` and a `Sampling`, an engine answers with `TokenChunk`s, and a parser
makes `ChatEvent`s of them. Names are ours: OpenAI's names stay in `tessera.wire`.

Reading order: `chat`, `generation`, `events`, `result`, `record`, `usage`.
"""

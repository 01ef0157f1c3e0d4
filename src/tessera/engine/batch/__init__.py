"""Continuous batching, for every engine whose forward pass we call ourselves.

A step takes one token from each running sequence and fills the rest of its token budget with pieces of
waiting prompts. This package decides what a step computes, keeps the blocks of the KV cache, samples,
follows grammars and proposes drafts. It imports no inference library; an engine adds a `Forward`.

Reading order: `core`, `forward`, `scheduler`, `sequence`, `blocks`, `sampling`, `following`, `constraint`,
`drafts`.
"""

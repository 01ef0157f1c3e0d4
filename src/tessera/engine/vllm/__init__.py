"""vLLM as an engine: large models on GPU servers.

vLLM schedules, computes, samples and caches; it runs in an environment of its own (`install`), since what it
requires and what Tessera requires exclude each other. The core in our engine process builds vLLM's requests
from ours and hands them to vLLM's EngineCore, which has a process for itself. No text passes: vLLM's own
tokenizer, templates and parsers are not used.

Reading order: `config`, `row`, `install`, `sampling`, `thinking`, `failures`, `api`, `arguments`,
`footprint`, `fitting`, `cores`, `outputs`, `core`.
"""

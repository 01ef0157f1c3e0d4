"""The CPU engine: OpenVINO's kernels under our own scheduler.

`convert` turns a GGUF file into OpenVINO IR once; `graph` loads a model with paged attention as one
function from token ids to logits; `core` makes a `Forward` of it for `engine.batch`.

Reading order: `row`, `config`, `core`, `graph`, `fusion`, `convert`.
"""

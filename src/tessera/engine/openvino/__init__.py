"""The CPU engine: OpenVINO's kernels under our own scheduler.

`convert` turns a GGUF file into OpenVINO IR once; `graph` loads a model with paged attention as one
function from token ids to logits; `core` calls it once a step.

Reading order: `config`, `core`, `graph`, `fusion`, `convert`.
"""

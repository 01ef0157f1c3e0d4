"""Engines: token ids in, token ids out.

`base` is the protocol and its contract. An engine knows no text, no tags and no tools, and says in its
`info` what it can do. `registry` has a row for each: `scripted` plays given tokens, `openvino` computes on
the CPU, `llamacpp` computes any GGUF file, on GPUs too, `vllm` computes large models on GPU servers. `host`
runs the core of any engine in a process of its own; `batch` is what our own cores share.

Reading order: `base`, `registry`, `scripted`, `host`, `batch`, `openvino`, `llamacpp`,
`vllm`.
"""

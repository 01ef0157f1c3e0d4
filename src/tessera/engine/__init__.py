"""Engines: token ids in, token ids out.

`base` is the protocol and its contract. An engine knows no text, no tags and no tools, and says in its
`info` what it can do. `scripted` plays given tokens; `host` runs an engine in a process of its own; `batch`
is what engines with our own scheduler share; `openvino` computes on the CPU.

Reading order: `base`, `scripted`, `host`, `batch`, `openvino`.
"""

"""llama.cpp as an engine: any GGUF file, on the processor and on GPUs.

llama.cpp supplies weights and kernels, by its C API in the engine's process. Batching, sampling, grammars and
the accounting of blocks are those of `engine.batch`.

Its memory is *cells*, each the keys and values of a token in all layers. A cell belongs to sequences, by
their ids, and is free when none is left. A running sequence has an id of its own, its *seat*. The ids above
are *lanes*: they never run, and what is published for reuse belongs to them.

Reading order: `config`, `row`, `library`, `api`, `layouts`, `loading`, `offload`, `sizes`, `complaints`,
`context`, `exact`, `seats`, `lanes`, `checkpoints`, `forward`, `core`.
"""

"""Model files: where they come from, and the cache they are kept in.

`resolve` turns what an operator names (a folder, a file, a hub id, nothing) into a `ModelSource` that an
engine can load. Downloads and conversions run in processes, and appear in the cache only when they are
complete.

Reading order: `resolve`, `folder`, `cache`, `hub`, `gguf`, `layers`, `memory`, `embedded`.
"""

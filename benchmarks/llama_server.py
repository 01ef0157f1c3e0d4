"""llama.cpp's own HTTP server in a process of its own.

    python -m benchmarks.llama_server GGUF PORT SLOTS TOKENS_PER_SLOT

It prints one line when it listens, and ends when its standard input does, so that it never outlives the
benchmark.
"""

import os
import sys

import xllamacpp


def params(gguf: str, port: int, slots: int, context_tokens: int) -> xllamacpp.CommonParams:
    """The server's settings: as many slots as streams, `context_tokens` for each, all cores, its defaults for
    all the rest.

    Its defaults hold continuous batching and prompt caching.
    """
    chosen = xllamacpp.CommonParams()
    chosen.model.path = gguf
    chosen.hostnames = ["127.0.0.1"]
    chosen.port = port
    chosen.n_parallel = slots
    chosen.n_ctx = slots * context_tokens
    chosen.cpuparams.n_threads = os.cpu_count() or 1
    chosen.cpuparams_batch.n_threads = os.cpu_count() or 1
    chosen.verbosity = 1
    return chosen


def main() -> None:
    """Serve until standard input ends."""
    gguf, *numbers = sys.argv[1:]
    server = xllamacpp.Server(params(gguf, *map(int, numbers)))
    print(f"listening on {server.listening_address}", flush=True)
    sys.stdin.read()
    os._exit(0)  # its destructor may wait for connections that nobody closes


if __name__ == "__main__":
    main()

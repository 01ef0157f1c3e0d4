"""The core of any engine in a process of its own, and its clients in the API processes.

The process computes steps in one thread and looks at its sockets between two of them. Clients send requests
and receive one msgpack frame per step over a Unix socket. The parent process watches the engine's
heartbeat, kills it if it hangs, and starts it again; requests that have not begun wait for the new process.

Reading order: `core`, `worker` (inside the process), `frames`, `client` (outside it), `process`.
"""

"""Child processes: how they are started, watched and ended; pools of them that answer questions.

Everything that a client's input can make slow runs in a child with limits of processor time and memory.
Children hold a pipe of the process that started them and exit when it does. Accounts take turns with
whatever they share, be it a process, a thread or memory (`sharing`).

Reading order: `children`, `frames`, `pool`, `answering`, `sharing`, `supervision`.
"""

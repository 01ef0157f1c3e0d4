"""The usage of requests: recorded durably while they are answered, added up later.

A request is on record before the first byte of its reply is sent, and its end before the last. While the
database is away, entries wait in a file of this server; requests of a server that died are closed as
`interrupted`.

Reading order: `base`, `ledger`, `journal`, `salvage`, `heartbeat`, `reading`, `retention`.
"""

"""Who may send a request now, and how much an account may use.

A key names an account and its tier (`keys`, `stored_keys`, `tiers`). `permit` is the one place that decides
about a request: first what the key permits, then the account's limits and budgets, which are counted in this
process or in Redis. An admitted request then waits in the `queue` of its model for a place at the engine.

Reading order: `permit`, `keys`, `tiers`, `limits`, `window`, `spending`, `queue`.
"""

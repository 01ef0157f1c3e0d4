"""The database: accounts, keys, usage and the audit, in SQLite or PostgreSQL.

The only package that knows SQL. Every change of an account or a key is written with its row of the audit,
in one transaction.

Reading order: `tables`, `database`, `pages`, `accounts`, `keys`, `peppers`, `audit`, `instances`,
`usage`, `top_keys`, `budget_warnings`, `migration`, `threads`.
"""

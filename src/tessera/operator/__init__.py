"""What an operator does with accounts, keys, usage and the audit.

The commands and the admin API are two faces of this package: a form in, a row out, within one transaction.

Reading order: `forms`, `cursors`, `actions`, `budgets`, `rows`, `files`.
"""

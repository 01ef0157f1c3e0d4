"""The database of accounts, keys, usage and the audit: SQLite or PostgreSQL. Only this package knows SQL."""

"""What is kept: accounts, keys and usage, in SQLite or PostgreSQL. The only package that knows SQL."""

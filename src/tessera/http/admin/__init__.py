"""The admin listener: metrics for everyone who reaches it, the admin API for its key.

Reading order: `app`, `routes`, `requests`, `debug`.
"""

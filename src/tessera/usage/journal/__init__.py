"""What an instance keeps of usage on its own disk: what runs, and what the store has not taken.

Reading order: `running`, `spool`, `files`.
"""

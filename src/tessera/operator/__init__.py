"""What an operator does with accounts, keys, usage and the audit, by a command or by the admin API."""

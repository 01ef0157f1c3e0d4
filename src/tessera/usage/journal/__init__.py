"""What an instance keeps of usage on its own disk: the requests that run, and what the store has not taken."""

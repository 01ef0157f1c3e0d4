"""Model files: where they come from, and the cache in which they are kept."""

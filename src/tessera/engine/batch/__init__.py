"""What engines of our own share: scheduling, KV blocks, sampling, grammars, drafts."""

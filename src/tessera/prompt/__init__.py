"""From a chat request to what an engine continues: token ids, grammar, complete sampling.

It also refuses what the model cannot do, in the request's own words.

Reading order: `compile`, `support`, `encode`, `token_memory`.
"""

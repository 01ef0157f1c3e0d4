"""An engine without a model: it plays given tokens at a given pace.

It ships with the service, so that clients and the service itself can be tested without weights. Where a
request has a grammar, it answers with the shortest reply that the grammar accepts.

Reading order: `engine`, `grammar_replies`, `shortest`, `walk`.
"""

"""An engine without a model, which plays given tokens."""

"""JSON Schema, read once: which keywords are promised, what they mean, and the validation of finished values."""

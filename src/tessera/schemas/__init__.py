"""JSON Schema, read once: what is promised of it, and the validation of finished values."""

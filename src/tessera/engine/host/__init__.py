"""The process of an engine: any `Core` in it, its clients outside."""

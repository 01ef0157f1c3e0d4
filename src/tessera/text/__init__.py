"""Tokenizers, and the way back: token ids to whole characters and control tokens.

Reading order: `tokenizer`, `hf`, `pieces`, `detokenizer`.
"""

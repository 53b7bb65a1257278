"""A model's files, its tokenizer, and how it is loaded."""

"""The document assistant: questions and follow-ups answered from a knowledge base, with numbered sources."""

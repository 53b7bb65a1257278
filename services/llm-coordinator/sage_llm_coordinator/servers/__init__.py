"""Servers of models that this coordinator starts: where they run, what they need, who owns them."""

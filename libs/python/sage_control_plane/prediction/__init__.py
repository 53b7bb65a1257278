"""How long things will take, learned from what they took."""

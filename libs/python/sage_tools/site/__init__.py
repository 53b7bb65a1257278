"""The pages of the documentation's site: the repository's own Markdown, and references that are read off the code."""

"""SAGE: LLM and embedding engines as one SLO-aware service, with declarative pipelines on top."""

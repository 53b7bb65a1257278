"""L3: pure algorithms and operators: loaders, chunking, prompts, ranking."""

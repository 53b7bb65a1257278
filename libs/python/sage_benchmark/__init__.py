"""L5: benchmarks and the engines they measure against."""

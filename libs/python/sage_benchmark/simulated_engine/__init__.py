"""A program that looks like an inference engine and has a stated latency model: for benchmarks and fault tests only."""

"""Open-loop workloads: when requests arrive, from whom, and how large they are. Pure and seeded."""

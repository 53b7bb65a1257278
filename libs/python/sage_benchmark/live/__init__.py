"""The mesh and its peers under load: real processes, simulated engines, open-loop arrivals."""

"""L1: what every layer needs: errors, configuration, paths, ports, logging, metrics, clock."""

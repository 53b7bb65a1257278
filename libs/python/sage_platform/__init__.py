"""L2: the mesh's plumbing: NATS (ring, KV, JetStream), gRPC, leases, registry, process supervision."""

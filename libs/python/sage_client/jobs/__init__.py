"""Pipelines as jobs of the mesh: submit, follow, read and change them, over gRPC or through a gateway."""

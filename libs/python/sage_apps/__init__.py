"""L5: applications built from the layers below."""

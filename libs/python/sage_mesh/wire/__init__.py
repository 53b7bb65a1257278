"""Protobuf ↔ domain, in one place. Past this room policies and engines see no ``_pb2``."""

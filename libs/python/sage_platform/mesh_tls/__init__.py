"""Securing a mesh: its certificates, and what each identity may do on NATS."""

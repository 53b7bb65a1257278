"""Tenants at the gateway: what they may have, what they have had, and the orders about both."""

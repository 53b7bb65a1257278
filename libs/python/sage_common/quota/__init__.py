"""How much of something tenants may have, shared between replicas without a drift: pure arithmetic."""

"""L3: PURE decisions: classification, policies, placement, admission. No I/O, no clock, no randomness of its own."""

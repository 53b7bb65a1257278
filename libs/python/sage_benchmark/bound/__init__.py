"""How many requests any order of service can serve within their targets, at most."""

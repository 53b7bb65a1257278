"""Tokens of an OpenID Connect issuer, beside API keys."""

"""Which request goes next. One policy a file, one line each in the registry."""

"""A client of HTTP/1.1 for proxying: one server, kept connections, answers read as they come. Needs httptools."""

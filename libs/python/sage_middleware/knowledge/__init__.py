"""Knowledge bases: collections of documents, each one SQLite file, searched by meaning and by words."""

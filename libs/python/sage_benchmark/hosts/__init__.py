"""Several hosts on one machine: network namespaces, a network between them that can be spoilt, and a mesh over them."""

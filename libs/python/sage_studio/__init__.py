"""The studio: the mesh as a web page, in a process of its own, over what a gateway offers to everyone."""

"""Knowledge bases of a mesh: kept, searched and filled, through a gateway or at the workers themselves."""

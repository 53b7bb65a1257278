"""The mesh on this machine: which processes it is made of, bringing them up, looking at them, stopping them."""

"""The policies over many engines and loads, each cell held against what no order of service can beat."""

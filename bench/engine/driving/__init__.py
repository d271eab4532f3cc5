"""The driver: it owns the graph, and runs what remains of a plan on a back end."""

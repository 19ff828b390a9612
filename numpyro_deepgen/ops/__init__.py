"""Stateless tensor mathematics, the layer below networks and distributions."""

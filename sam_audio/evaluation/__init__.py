"""Measures on held-out recordings."""

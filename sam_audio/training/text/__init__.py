"""Phrases that people may ask with."""

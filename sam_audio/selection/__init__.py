"""Judging what was separated, and choosing among candidates."""

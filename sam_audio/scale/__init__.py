"""Whole libraries of recordings: the same work for each of them, on many processors or machines.

    inputs -> items -> an engine's workers (tasks) -> outputs in a store, rows in a catalogue

`batch` drives, `processes` and `rays` are the engines, `stores` is where things lie, `catalogue` says what was made.
"""

"""The service: jobs over HTTP, in a queue that survives.

app (doors, limits) -> jobs (SQLite) -> running (threads, each with a worker process) -> work -> outputs
"""

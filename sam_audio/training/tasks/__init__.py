"""What recipes can train; each module has a Task and the Settings that it understands."""

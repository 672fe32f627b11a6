"""Music composed and played for training."""

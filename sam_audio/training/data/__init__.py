"""From recordings on disk to training mixtures."""

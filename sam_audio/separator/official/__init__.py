"""SAM-Audio as published: own implementation that loads the official checkpoints."""

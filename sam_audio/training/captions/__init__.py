"""The data engine: from clips to captions, and from captions to shards that recipes learn from."""

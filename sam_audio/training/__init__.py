"""Training of the nano models: data bank, mixtures, losses and recipes."""

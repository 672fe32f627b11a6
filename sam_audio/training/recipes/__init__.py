"""One file for each network that is trained."""

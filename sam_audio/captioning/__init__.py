"""Captioners that come with the package; see the hook of that name."""

"""What is asked, as a separator understands it."""

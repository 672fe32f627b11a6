"""What plugins can add, and how they are found."""

"""Where sounds are: in time, and in folders of files."""

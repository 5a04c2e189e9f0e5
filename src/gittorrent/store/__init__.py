"""What a node keeps outside repositories: its home, its database and partial downloads."""

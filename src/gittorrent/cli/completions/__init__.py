"""Scripts that shells complete commands by."""

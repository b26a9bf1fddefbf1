"""The targets: what each can do, and the way from the Plan to its files."""

"""What each scheduler says about a gang's ranks: one module each, with ``claim(environ)``."""

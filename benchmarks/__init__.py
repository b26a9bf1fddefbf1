"""Repeatable measurements of flowc, each against a peer or a floor in the same run: ``make bench``."""

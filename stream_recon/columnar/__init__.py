"""Fills that agree, sorted out of files in columns, so that the core has only the rest to judge."""

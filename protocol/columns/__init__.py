"""Columns: the hot messages of a whole batch read, checked and answered at once."""

"""The keeper (管家): keeps the record in order while the others work."""

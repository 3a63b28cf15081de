"""From a stored mail to the bytes of its message."""

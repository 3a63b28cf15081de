"""The cooperating parts of the service; they meet only in the store."""

"""What `notifier demo` runs: a broker, an inbox, a publisher, and the ledger at the end."""

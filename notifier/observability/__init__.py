"""What operators see of a running service: status, metrics and logs."""

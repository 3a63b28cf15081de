"""The service's connections to its peers: one file a protocol, no decisions."""

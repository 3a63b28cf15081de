"""The WebSocket feed `notifier.feed.v1`: both ends of its protocol, and the HTTP pages beside it."""

"""The demo's own parts: a broker to talk to, an inbox to send to, a publisher, and the count at the end."""

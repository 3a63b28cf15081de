"""Notifier: a reminder and notification mailer for services that talk over RabbitMQ."""

__version__ = "0.1.0"

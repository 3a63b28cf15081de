"""Notifier: a reminder and notification mailer for services that talk over RabbitMQ."""

from importlib.metadata import version

__version__ = version("notifier")

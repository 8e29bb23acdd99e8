"""Failures that a person can do something about; the command prints their text and no trace."""


class GatewayError(Exception):
    """Expected, and explained."""

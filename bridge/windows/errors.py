"""What goes wrong with a service of Windows, in words."""


class ServiceError(Exception):
    """Windows refuses, or the service is not as it should be; the text tells what to do."""

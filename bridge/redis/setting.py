"""The relay that the settings name."""

from bridge.listening import StartError
from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from hub.settings import Settings


def relay_of(settings: Settings) -> RedisRelay:
    """Make it; it is connected when it is first needed. Raises StartError."""
    try:
        address = Address.parse(settings.redis)
    except ValueError as error:
        raise StartError(f"redis {error}") from None
    return RedisRelay(address, settings.relay_name, settings.relay_shards)

"""The relay over Redis: one server, one behind Sentinel, or a Cluster. `bridge.redis.relay.RedisRelay` is the door."""

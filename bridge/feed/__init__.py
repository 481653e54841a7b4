"""A source in another process or on another machine than the hub: what it speaks, and both of its ends."""

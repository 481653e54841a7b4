"""What the relay costs: feed, Redis and edges beside a hub that is alone."""

"""The hub: topics, rows, history, clients and sockets. It knows no vendor and imports nothing of ``bridge``."""

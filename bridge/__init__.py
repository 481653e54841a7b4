"""The outside: sources that give batches of rows to the hub, and observers that are given them."""

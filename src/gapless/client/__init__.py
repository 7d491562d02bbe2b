"""The one programming interface: connect, write sequences, find and read them."""

"""Bounded hand-over between threads and event loops: policies, bridges, buses, metrics."""

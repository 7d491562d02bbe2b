"""Every test here counts the threads that it begins itself."""

from tests.client.remote.write_server import threads_before

__all__ = ["threads_before"]

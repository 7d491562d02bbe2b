"""Numeric libraries held to one thread, so that they add in one order and give the same bits anywhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from gapless.errors import MissingExtra

_LOCK = threading.Lock()
_BLAS = ExitStack()
_inside = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and OpenMP to one thread while the block runs; any number of threads may be inside.

    The limit of BLAS is the process's, so it is lifted when the last one leaves; that of OpenMP is each thread's.
    """
    global _inside
    try:
        import sklearn  # noqa: F401 - what is loaded later would not be held
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra(
            "fitting a model needs scikit-learn", next_step="pip install 'gapless[features]'"
        ) from error
    with _LOCK:
        if not _inside:
            _BLAS.enter_context(threadpool_limits(1, "blas"))
        _inside += 1
    try:
        with threadpool_limits(1, "openmp"):
            yield
    finally:
        with _LOCK:
            _inside -= 1
            if not _inside:
                _BLAS.close()

"""How far a training is: the calls that a model makes, and who listens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable
class TrainingProgressCallback(Protocol):
    """Is told how far a training is. What it raises is kept, and never ends the training."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Take note that epoch ``epoch`` of ``total_epochs`` ended with these metrics."""
        ...

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Take note that the training of one class begins; ``class_idx`` counts from 0."""
        ...

    def on_phase(self, phase: str, message: str) -> None:
        """Take note that another phase of the training begins."""
        ...


class NullProgressCallback:
    """Takes no note of anything."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Do nothing."""

    def on_phase(self, phase: str, message: str) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class CallbackFailure:
    """The first error of a callback, which got the later calls nevertheless."""

    callback: object
    error: BaseException

    def __str__(self) -> str:
        return f"{type(self.callback).__name__}: {type(self.error).__name__}: {self.error}"


class CompositeProgressCallback:
    """Tells several callbacks, each whatever became of the others.

    ``errors`` has the first error of each callback that raised one. KeyboardInterrupt and SystemExit pass.
    """

    def __init__(self, *callbacks: TrainingProgressCallback) -> None:
        self.callbacks = callbacks
        self.errors: list[CallbackFailure] = []

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Tell all that an epoch ended; each gets metrics of its own."""
        self._tell(lambda callback: callback.on_epoch_end(epoch, total_epochs, dict(metrics)))

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Tell all that the training of a class begins."""
        self._tell(lambda callback: callback.on_class_start(class_idx, total_classes, class_name))

    def on_phase(self, phase: str, message: str) -> None:
        """Tell all that another phase begins."""
        self._tell(lambda callback: callback.on_phase(phase, message))

    def on_begin(self, model: str, run_id: str) -> None:
        """Tell those who keep it which run is being trained."""
        self._tell(lambda callback: _told_of(callback, "on_begin", model, run_id))

    def on_end(self, status: str) -> None:
        """Tell those who keep it how the training ended: ``finished`` or ``failed``."""
        self._tell(lambda callback: _told_of(callback, "on_end", status))

    def _tell(self, call: Callable[[TrainingProgressCallback], None]) -> None:
        for callback in self.callbacks:
            try:
                call(callback)
            except BaseException as error:  # a user's callback ends here
                if not isinstance(error, Exception):
                    raise
                if all(known.callback is not callback for known in self.errors):
                    self.errors.append(CallbackFailure(callback, error))


def _told_of(callback: object, method: str, *told: str) -> None:
    """Call a method that a callback need not have."""
    call = getattr(callback, method, None)
    if call is not None:
        call(*told)

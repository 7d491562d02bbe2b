"""Sequences to cached features with lineage, and to trained models.

Every public name is loaded when it is first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_PLACES = {
    "accepted_code": ("accept_code",),
    "artifact": ("ArtifactSpec", "JoblibArtifact", "NpzArtifact", "ParquetArtifact"),
    "columns": ("Columns", "PoseConfig", "resolve_order_col"),
    "dataset": ("Dataset",),
    "entry": ("EntryKey", "EntryRecord"),
    "feature": ("Feature", "InputStream"),
    "feature_warning": ("FeatureWarning",),
    "identity": ("RunOptions",),
    "inputs": ("InputRequire", "Inputs", "InputsLike", "TopicInput", "TrackInput"),
    "kit": ("FittedFeature", "TableFeature"),
    "labels_source": ("FeatureLabelsSource", "GroundTruthLabelsSource", "LabelsSource"),
    "load_spec": ("JoblibLoadSpec", "NpzLoadSpec", "ParquetLoadSpec"),
    "loading": ("load_from_spec",),
    "params": ("GlobalModelParams", "Knob", "Params"),
    "pipeline": ("Pipeline",),
    "registry": ("FeatureRegistry", "open_registry"),
    "result": ("BodyScaleResult", "NNResult", "Result", "ResultColumn", "TracksColumn"),
    "run": ("run_feature",),
    "sampling": ("FrameSample", "sample_frames"),
    "step": ("CallbackStep", "FeatureStep", "ModelStep"),
    "strict_model": ("StrictModel",),
    "training.classifier": ("OneVsRestClassifierModel",),
    "training.model": ("Model",),
    "training.predict": ("PredictFeature",),
    "training.progress": ("CompositeProgressCallback", "NullProgressCallback", "TrainingProgressCallback"),
    "training.progress_file": ("CSVProgressCallback", "SQLiteProgressCallback", "read_progress"),
    "training.split": ("SplitSpec",),
    "training.plan": ("TrainingPlan", "read_plan"),
    "training.trained": ("load_model",),
    "training.training_data": ("TrainingData",),
    "training.train": ("train_model",),
    "values": ("load_values",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted(_MODULE_OF)  # noqa: PLE0605 - the names are those of the table above


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])


if TYPE_CHECKING:
    from gapless.features.accepted_code import accept_code as accept_code
    from gapless.features.artifact import ArtifactSpec as ArtifactSpec
    from gapless.features.artifact import JoblibArtifact as JoblibArtifact
    from gapless.features.artifact import NpzArtifact as NpzArtifact
    from gapless.features.artifact import ParquetArtifact as ParquetArtifact
    from gapless.features.columns import Columns as Columns
    from gapless.features.columns import PoseConfig as PoseConfig
    from gapless.features.columns import resolve_order_col as resolve_order_col
    from gapless.features.dataset import Dataset as Dataset
    from gapless.features.entry import EntryKey as EntryKey
    from gapless.features.entry import EntryRecord as EntryRecord
    from gapless.features.feature import Feature as Feature
    from gapless.features.feature import InputStream as InputStream
    from gapless.features.feature_warning import FeatureWarning as FeatureWarning
    from gapless.features.identity import RunOptions as RunOptions
    from gapless.features.inputs import InputRequire as InputRequire
    from gapless.features.inputs import Inputs as Inputs
    from gapless.features.inputs import InputsLike as InputsLike
    from gapless.features.inputs import TopicInput as TopicInput
    from gapless.features.inputs import TrackInput as TrackInput
    from gapless.features.kit import FittedFeature as FittedFeature
    from gapless.features.kit import TableFeature as TableFeature
    from gapless.features.labels_source import FeatureLabelsSource as FeatureLabelsSource
    from gapless.features.labels_source import GroundTruthLabelsSource as GroundTruthLabelsSource
    from gapless.features.labels_source import LabelsSource as LabelsSource
    from gapless.features.load_spec import JoblibLoadSpec as JoblibLoadSpec
    from gapless.features.load_spec import NpzLoadSpec as NpzLoadSpec
    from gapless.features.load_spec import ParquetLoadSpec as ParquetLoadSpec
    from gapless.features.loading import load_from_spec as load_from_spec
    from gapless.features.params import GlobalModelParams as GlobalModelParams
    from gapless.features.params import Knob as Knob
    from gapless.features.params import Params as Params
    from gapless.features.pipeline import Pipeline as Pipeline
    from gapless.features.registry import FeatureRegistry as FeatureRegistry
    from gapless.features.registry import open_registry as open_registry
    from gapless.features.result import BodyScaleResult as BodyScaleResult
    from gapless.features.result import NNResult as NNResult
    from gapless.features.result import Result as Result
    from gapless.features.result import ResultColumn as ResultColumn
    from gapless.features.result import TracksColumn as TracksColumn
    from gapless.features.run import run_feature as run_feature
    from gapless.features.sampling import FrameSample as FrameSample
    from gapless.features.sampling import sample_frames as sample_frames
    from gapless.features.step import CallbackStep as CallbackStep
    from gapless.features.step import FeatureStep as FeatureStep
    from gapless.features.step import ModelStep as ModelStep
    from gapless.features.strict_model import StrictModel as StrictModel
    from gapless.features.training.classifier import OneVsRestClassifierModel as OneVsRestClassifierModel
    from gapless.features.training.model import Model as Model
    from gapless.features.training.plan import TrainingPlan as TrainingPlan
    from gapless.features.training.plan import read_plan as read_plan
    from gapless.features.training.predict import PredictFeature as PredictFeature
    from gapless.features.training.progress import CompositeProgressCallback as CompositeProgressCallback
    from gapless.features.training.progress import NullProgressCallback as NullProgressCallback
    from gapless.features.training.progress import TrainingProgressCallback as TrainingProgressCallback
    from gapless.features.training.progress_file import CSVProgressCallback as CSVProgressCallback
    from gapless.features.training.progress_file import SQLiteProgressCallback as SQLiteProgressCallback
    from gapless.features.training.progress_file import read_progress as read_progress
    from gapless.features.training.split import SplitSpec as SplitSpec
    from gapless.features.training.train import train_model as train_model
    from gapless.features.training.trained import load_model as load_model
    from gapless.features.training.training_data import TrainingData as TrainingData
    from gapless.features.values import load_values as load_values

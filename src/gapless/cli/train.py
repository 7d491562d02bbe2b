"""Train a model on features: the training steps of a pipeline, or one model on named inputs.

`train PIPELINE [STEP]` trains the training steps of a pipeline file, or one of them; what a step reads must
have been computed (`gapless features run`). `train MODEL --input NAME … --config FILE.json` trains one
model: one of the library, of an installed plugin, or module:Class. NAME is a feature, FEATURE@RUN, or a recorded
topic; without --input the model reads the topic of --topic.

What was trained already from the same data with the same configuration is not trained again, unless
--overwrite says so. Prints the run and its metrics. Exit codes: 0 trained or found, 1 failed, 2 usage, 3 not found.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import options, output
from gapless.cli.metric_table import metric_lines
from gapless.errors import MissingExtra, NotFound, UsageError

if TYPE_CHECKING:
    from gapless.features.dataset import Dataset


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("what", metavar="PIPELINE|MODEL", help="a pipeline file, or a model")
    parser.add_argument(
        "step", metavar="STEP", nargs="?", default=None, help="a training step of the pipeline"
    )
    options.add_store(parser)
    parser.add_argument(
        "--input", metavar="NAME", action="append", default=[],
        help="what a MODEL reads: FEATURE, FEATURE@RUN or a topic; repeat it",
    )  # fmt: skip
    parser.add_argument(
        "--topic", metavar="TOPIC", default=None, help="the topic that a MODEL reads (default: tracks)"
    )
    parser.add_argument(
        "--config", metavar="FILE", default=None, help="the configuration of a MODEL, as JSON"
    )
    parser.add_argument("--overwrite", action="store_true", help="train again")
    options.add_dry_run(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train and print what came of it."""
    if importlib.util.find_spec("pandas") is None:
        raise MissingExtra(
            "training needs pandas and scikit-learn", next_step="pip install 'gapless[features]'"
        )
    root = options.existing_store(args)
    trainings = _of_pipeline(args, root) if args.what.endswith((".toml", ".py")) else _of_model(args, root)
    found = [_trained(args, *training) for training in trainings]
    if args.json:
        output.say_json({"models": found})
        return 0
    for item in found:
        output.say(f"{item['model']}@{item['run_id']}  {item['status']}")
        for line in metric_lines(item["metrics"]):
            output.say(line)
    return 0


def _of_pipeline(args: argparse.Namespace, root: Path) -> Iterator[tuple[Dataset, Any, Any]]:
    from gapless.cli.feature_run import computed
    from gapless.features.pipeline_file import load_pipeline
    from gapless.features.step import ModelStep

    if args.input or args.config or args.topic:
        raise UsageError(
            "a pipeline says what its models read", next_step="leave --input, --topic and --config out"
        )
    loaded = load_pipeline(args.what)
    steps = [step for step in loaded.pipeline.steps.values() if isinstance(step, ModelStep)]
    chosen = [step for step in steps if args.step in (None, step.name)]
    if not chosen:
        raise UsageError(
            "the pipeline has no such training step", found=args.step,
            expected=", ".join(step.name for step in steps) or "a step with a model",
            next_step=f"name a training step of {args.what}, or add one",
        )  # fmt: skip
    with loaded.dataset(root) as ds:
        results = computed(ds, loaded.pipeline)
        for step in chosen:
            missing = [name for name in step.upstream if name not in results]
            if missing:
                raise UsageError(
                    "what the training reads is not computed", found=", ".join(missing),
                    next_step=f"`gapless features run {args.what}`",
                )  # fmt: skip
            yield ds, step.model(results), step.config


def _of_model(args: argparse.Namespace, root: Path) -> Iterator[tuple[Dataset, Any, Any]]:
    from gapless.features.dataset import Dataset
    from gapless.features.named_class import model_class

    if args.step is not None:
        raise UsageError("a model has no steps", found=args.step, next_step="name a PIPELINE file first")
    model = model_class(args.what)
    config = None if args.config is None else _config(Path(args.config))
    with Dataset(root, topic=args.topic or "tracks") as ds:
        items = tuple(_input(ds, text) for text in args.input) or (_input(ds, ds.topic),)
        yield ds, model(items), config


def _config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(
            "the configuration is not there", found=str(path), next_step="name a JSON file with --config"
        ) from error
    except ValueError as error:
        raise UsageError(
            f"{path} is no JSON", found=str(error), next_step="correct the line that is named"
        ) from error
    if not isinstance(config, dict):
        raise UsageError(f"{path} is no JSON object", found=type(config).__name__,
                         next_step='write {"labels": "KIND"}, for example')  # fmt: skip
    return config


def _input(ds: Dataset, text: str) -> Any:
    """Return what a name means: a feature that ran, or a topic that was recorded."""
    from gapless.features.inputs import TopicInput
    from gapless.features.result import Result

    feature, _, run_id = text.removeprefix("features/").partition("@")
    storage, topics = ds.registry.storage_of(feature), ds.topics()
    if run_id and ds.registry.has_run(storage, run_id):
        return Result(feature=storage, run_id=run_id)
    if not run_id and ds.registry.newest_run_id(storage) is not None:
        return Result(feature=storage)
    if text in topics or (text == "tracks" and ds.topic in topics):
        return "tracks" if text in ("tracks", ds.topic) else TopicInput(text)
    raise NotFound(
        "a model reads features that ran and topics that were recorded", found=text,
        expected=f"a feature: {', '.join(ds.registry.list_features()) or '(none ran)'};"
                 f" a topic: {', '.join(topics) or '(none)'}",
        next_step="name one with --input, or the recorded topic with --topic",
    )  # fmt: skip


def _trained(args: argparse.Namespace, ds: Dataset, model: Any, config: Any) -> dict[str, Any]:
    from gapless.features.training.model_run import ModelRun
    from gapless.features.training.progress import CompositeProgressCallback
    from gapless.features.training.progress_file import StoreProgress
    from gapless.features.training.train import model_identity, model_status, train_model

    if args.dry_run:
        run_id = model_identity(ds, model, config)[0]
        return {
            "model": model.name,
            "run_id": run_id,
            "status": model_status(ds, model, run_id),
            "metrics": {},
        }
    told = CompositeProgressCallback(_Notes(), StoreProgress(ds.root))
    run_id = train_model(ds, model, config, args.overwrite, progress_callback=told)
    folder = ModelRun.of(ds.models_root, model.name, run_id).path
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {"model": model.name, "run_id": run_id, "status": "finished", "metrics": metrics}


class _Notes:
    """Progress as lines on stderr."""

    def on_epoch_end(self, epoch: int, total_epochs: int, metrics: Mapping[str, float]) -> None:
        """Tell of an epoch."""
        told = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        output.note(f"epoch {epoch + 1} of {total_epochs}  {told}")

    def on_class_start(self, class_idx: int, total_classes: int, class_name: str) -> None:
        """Tell of a class."""
        output.note(f"class {class_idx + 1} of {total_classes}: {class_name}")

    def on_phase(self, phase: str, message: str = "") -> None:
        """Tell of a phase."""
        output.note(f"{phase}  {message}".rstrip())

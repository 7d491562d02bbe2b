"""A dataset read by the rules of LeRobot's loader, with PyAV and pyarrow alone: nothing of gapless reads here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

TOLERANCE_S = 1e-4


def read(root: Path) -> dict[str, Any]:
    """Return what a loader gives: ``state_E``, ``action_E``, ``task_E`` and ``pictures_E_K`` of episode E, camera K.

    Rows are found by their place in all files of rows joined in the order of their paths, pictures by the time
    ``from_timestamp + timestamp``. Raises AssertionError where a loader would fail or show something else.
    """
    info = json.loads((root / "meta/info.json").read_text())
    rows = _joined(root, "data/*/*.parquet")
    tasks = pq.read_table(root / "meta/tasks.parquet").to_pandas()
    told: dict[str, Any] = {}
    for number, entry in enumerate(_joined(root, "meta/episodes/*/*.parquet").to_pylist()):
        assert entry["episode_index"] == number
        inside = rows.slice(entry["dataset_from_index"], entry["length"])
        assert inside["index"].to_pylist() == list(
            range(entry["dataset_from_index"], entry["dataset_to_index"])
        )
        assert set(inside["episode_index"].to_pylist()) == {number}
        for short, key in (("state", "observation.state"), ("action", "action")):
            if key in inside.column_names:
                told[f"{short}_{number}"] = np.array(inside[key].to_pylist(), np.float32)
        told[f"task_{number}"] = tasks.iloc[inside["task_index"][0].as_py()].name
        for key, feature in info["features"].items():
            if feature["dtype"] == "video":
                file = info["video_path"].format(
                    video_key=key,
                    chunk_index=entry[f"videos/{key}/chunk_index"],
                    file_index=entry[f"videos/{key}/file_index"],
                )
                times_s = entry[f"videos/{key}/from_timestamp"] + inside["timestamp"].to_numpy()
                told[f"pictures_{number}_{key}"] = _pictures(root / file, times_s)
    return told


def _joined(root: Path, pattern: str) -> pa.Table:
    tables = [pq.read_table(path) for path in sorted(root.glob(pattern))]
    return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])


def _pictures(path: Path, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """Return the picture nearest to each time."""
    with av.open(str(path)) as container:
        frames: Any = container.decode(video=0)
        shown = {float(frame.pts * frame.time_base): frame.to_ndarray(format="rgb24") for frame in frames}
    at = np.array(list(shown))
    places = np.abs(at[None, :] - times_s[:, None]).argmin(1)
    assert (np.abs(at[places] - times_s) < TOLERANCE_S).all()
    pictures: npt.NDArray[np.uint8] = np.stack(list(shown.values()))[places]
    return pictures

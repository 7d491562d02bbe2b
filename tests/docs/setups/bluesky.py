"""What docs/bluesky.md takes for granted: a quiet RunEngine, and a backup that another writer left."""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

from event_model import compose_run

logging.getLogger("bluesky").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="tiled")

_run = compose_run(metadata={"plan_name": "count", "scan_id": 7})
_primary = _run.compose_descriptor(
    name="primary", data_keys={"x": {"source": "SIM", "dtype": "number", "shape": []}}
)
_documents: list[tuple[str, Any]] = [("start", _run.start_doc), ("descriptor", _primary.descriptor_doc)]
_documents += [("event", _primary.compose_event(data={"x": n / 2}, timestamps={"x": 1.0})) for n in range(3)]
_documents.append(("stop", _run.compose_stop()))
Path("backup.jsonl").write_text(
    "".join(json.dumps({"name": name, "doc": doc}) + "\n" for name, doc in _documents), encoding="utf-8"
)

"""What docs/calibration.md takes for granted: its channels as a file, and a sequence recorded with them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gapless
from gapless.acquire.adapter import DeviceField
from gapless.acquire.binding import ChannelBinder
from gapless.acquire.calibration.resolution import resolve_channels, snapshot
from gapless.acquire.channel import read_channels
from gapless.acquire.emission import SourceRecord
from gapless.acquire.group import groups_of
from gapless.model.metadata import canonical_json

_PAGE = Path(gapless.__path__[0]).parents[1] / "docs" / "calibration.md"
_TOML = re.findall(r"^```toml\n(.*?)^```$", _PAGE.read_text(encoding="utf-8"), re.M | re.S)
Path("channels.toml").write_text(_TOML[0], encoding="utf-8")
Path("new.toml").write_text(_TOML[-1], encoding="utf-8")

_FIELDS = {
    "loop": [DeviceField("current", "float64", "mA")],
    "bath": [DeviceField("celsius", "float64", "degC"), DeviceField("reply", "json")],
}
_CHANNELS = resolve_channels(read_channels(tomllib.loads(_TOML[0])["channels"]), _FIELDS)
_VALUES: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "loop": lambda n: (4.0 + n / 10,),
    "bath": lambda n: (20.0, {"probes": [1.0, 20.0 + n]}),
}

with gapless.connect() as _client, _client.sequence_create("oven") as _sequence:
    Path("calibration.json").write_bytes(canonical_json(snapshot(_CHANNELS)))
    _sequence.add_artifact("calibration.json", media_type="application/json")
    for _group in groups_of([spec for spec in _CHANNELS if spec.device is not None]).values():
        _device = str(_group.device)
        _topic = _sequence.topic_create(_group.topic, _group.metadata("sim"), schema=_group.schema())
        _binder = ChannelBinder(_device, "sim", _FIELDS[_device], _CHANNELS)
        for _n in range(200):
            _record = SourceRecord("sim", _device, _n, _n * 10**7, 0, _VALUES[_device](_n))
            _row = _group.row({sample.channel: sample for sample in _binder.bind(_record)})
            _topic.push_row(_record.timestamp_ns, _n, *_row)

"""One measurement of bench_bluesky in a process of its own; prints its figures as a line of JSON.

``python bluesky_child.py WHAT WRITER COUNT FOLDER URL``: WRITER is ``none``, ``empty``, ``gapless``, ``gapless-tiled``
or ``tiled-BATCH``, the live TiledWriter with that batch size.
"""

from __future__ import annotations

import functools
import itertools
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gapless

KEYS = 5
Callback = Callable[[str, dict[str, Any]], Any]
Document = tuple[str, dict[str, Any]]


class Measured:
    """A callback and what each event cost in it, in nanoseconds."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self.spent_ns: list[int] = []

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        began = time.perf_counter_ns()
        self._callback(name, doc)
        spent = time.perf_counter_ns() - began
        if name in ("event", "stream_datum"):
            self.spent_ns.append(spent)

    def figures(self) -> dict[str, float]:
        """Return count, quantiles and sum of what the events cost."""
        spent = sorted(self.spent_ns) or [0]
        return {
            "events": len(spent),
            "p50_us": spent[len(spent) // 2] / 1e3,
            "p99_us": spent[min(len(spent) - 1, len(spent) * 99 // 100)] / 1e3,
            "max_us": spent[-1] / 1e3,
            "total_s": sum(spent) / 1e9,
        }


class Writers:
    """Makes the writer that is asked for and knows how to end it."""

    def __init__(self, kind: str, folder: Path, url: str) -> None:
        self.finish: Callable[[], Any] = lambda: None
        self.flush: Callable[[], Any] = lambda: None
        self.callback: Callback = lambda *_: None
        if kind == "gapless":
            from gapless.bluesky import Writer

            self._ours(Writer(folder / "store"))
        elif kind == "gapless-tiled":
            from gapless.bluesky import TiledWriter

            self._ours(TiledWriter.from_uri(url, backup_directory=folder / "store"))
        elif kind.startswith("tiled-"):
            from bluesky_tiled_plugins.writing.tiled_writer import TiledWriter as LiveWriter
            from tiled.client import from_uri

            self.callback = LiveWriter(
                from_uri(url), batch_size=int(kind.removeprefix("tiled-")), backup_directory=str(folder)
            )

    def _ours(self, writer: Any) -> None:
        self.callback, self.flush, self.finish = writer, writer.flush, writer.close


def run_of(count: int) -> list[Document]:
    """Return a run of single events with five numbers each."""
    from event_model import compose_run

    run = compose_run(time=1_700_000_000.0)
    data_keys = {f"k{n}": {"source": "SIM", "dtype": "number", "shape": []} for n in range(KEYS)}
    bundle = run.compose_descriptor(name="primary", data_keys=data_keys, time=1_700_000_000.0)
    documents: list[Document] = [("start", run.start_doc), ("descriptor", bundle.descriptor_doc)]
    for n in range(count):
        now = 1_700_000_000.0 + n / 1000
        data = {key: n + i / 7 for i, key in enumerate(data_keys)}
        event = bundle.compose_event(data=data, timestamps=dict.fromkeys(data, now), time=now, validate=False)
        documents.append(("event", event))
    return [*documents, ("stop", run.compose_stop(time=now + 1))]


def feed(writers: Writers, count: int, _: Path) -> dict[str, float]:
    """Hand over a run as fast as can be; the time until its events are durable, and until its end is."""
    *body, stop = run_of(count)
    cpu, began = time.process_time(), time.perf_counter()
    for name, doc in body:
        writers.callback(name, doc)
    handed = time.perf_counter()
    writers.flush()
    durable = time.perf_counter()
    writers.callback(*stop)
    writers.flush()
    ended = time.perf_counter()
    spent_cpu = time.process_time() - cpu
    writers.finish()
    return {
        "handed_s": handed - began,
        "durable_s": durable - began,
        "ended_s": ended - began,
        "cpu_s": spent_cpu,
    }


def engine(writers: Writers, count: int, _: Path, *, subscribed: bool = True) -> dict[str, float]:
    """Count with a real RunEngine and five devices."""
    import bluesky.plans as bp
    from bluesky import RunEngine
    from ophyd.sim import SynSignal

    counter = itertools.count()
    devices = [SynSignal(name=f"k{n}", func=lambda: next(counter)) for n in range(KEYS)]
    running = RunEngine(context_managers=[])
    measured = Measured(writers.callback)
    if subscribed:
        running.subscribe(measured)
    running(bp.count(devices, 20))  # what is made on first use is charged to nobody
    measured.spent_ns.clear()
    began = time.perf_counter()
    running(bp.count(devices, count))
    ran = time.perf_counter() - began
    writers.finish()
    return measured.figures() | {"ran_s": ran}


def frames(writers: Writers, count: int, folder: Path) -> dict[str, float]:
    """Hand over one reference to a TIFF file for each frame, as a live detector does."""
    from event_model import compose_run

    files = folder / "frames"
    files.mkdir(parents=True)
    _write_tiffs(files, count)
    run = compose_run(time=1_700_000_000.0)
    image = {
        "source": "SIM",
        "dtype": "array",
        "dtype_numpy": "|u1",
        "shape": [1, 8, 8],
        "external": "STREAM:",
    }
    bundle = run.compose_descriptor(name="primary", data_keys={"image": image}, time=1_700_000_000.0)
    resource = run.compose_stream_resource(
        mimetype="multipart/related;type=image/tiff",
        uri=f"file://localhost{files}/",
        data_key="image",
        parameters={"template": "{:05d}.tif", "chunk_shape": [1, 8, 8]},
    )
    measured = Measured(writers.callback)
    began = time.perf_counter()
    measured("start", run.start_doc)
    measured("descriptor", bundle.descriptor_doc)
    measured("stream_resource", resource.stream_resource_doc)
    for n in range(count):
        datum = resource.compose_stream_datum(
            indices={"start": n, "stop": n + 1},
            seq_nums={"start": n + 1, "stop": n + 2},
            descriptor=bundle.descriptor_doc,
        )
        measured("stream_datum", datum)
    writers.flush()
    durable = time.perf_counter() - began
    measured("stop", run.compose_stop(time=1_700_000_001.0))
    writers.finish()
    half = len(measured.spent_ns) // 2
    halves = {"first_s": sum(measured.spent_ns[:half]) / 1e9, "second_s": sum(measured.spent_ns[half:]) / 1e9}
    return measured.figures() | halves | {"durable_s": durable}


def _write_tiffs(folder: Path, count: int) -> None:
    import numpy as np
    import tifffile

    for n in range(count):
        tifffile.imwrite(folder / f"{n:05d}.tif", np.full((8, 8), n % 256, np.uint8))


def visible(writers: Writers, count: int, folder: Path) -> dict[str, float]:
    """Hand over 20,000 events a second while another process reads them; how old the events are when seen."""
    import subprocess

    documents = run_of(count)
    uid = documents[0][1]["uid"]
    for name, doc in documents[:2]:
        writers.callback(name, doc)
    writers.flush()
    words = [sys.executable, __file__, "watch", "none", str(count), str(folder), uid]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "watching\n"
        began = time.perf_counter()
        for n, (name, doc) in enumerate(documents[2:-1]):
            if n % 100 == 0:
                time.sleep(max(0.0, n / 20_000 - (time.perf_counter() - began)))
            doc["time"] = time.time()
            writers.callback(name, doc)
        rate = count / (time.perf_counter() - began)
        writers.flush()
        writers.callback(*documents[-1])
        writers.finish()
        ages: dict[str, float] = json.loads(reader.stdout.readline())
    return ages | {"per_s": rate}


def watch(count: int, folder: Path, uid: str) -> dict[str, float]:
    """Follow the open run from this process and keep the age of the oldest event in each batch."""
    import numpy as np

    ages = []
    with gapless.connect(folder / "store") as client:
        topic = client.sequence_handler(uid).topic("primary")
        rows = topic.tail(from_start=True, poll_s=0.02, timeout_s=30)
        print("watching", flush=True)
        seen = 0
        for batch in rows:
            ages.append(time.time() - np.asarray(batch.column("time")))
            seen += batch.num_rows
            if seen >= count:
                break
    every = np.concatenate(ages)
    p50, p99, oldest = (float(age) * 1e3 for age in np.quantile(every, (0.5, 0.99, 1.0)))
    return {"p50_ms": p50, "p99_ms": p99, "max_ms": oldest, "rows": seen}


def dead(writers: Writers, count: int, _: Path) -> dict[str, float]:
    """Begin a run, wait until the server is killed, and hand over a few events."""
    documents = run_of(count)
    measured = Measured(writers.callback)
    for name, doc in documents[:2]:
        measured(name, doc)
    print("begun", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    for name, doc in documents[2:]:
        measured(name, doc)
    ran = time.perf_counter() - began
    closing = threading.Thread(target=writers.finish, daemon=True)
    closing.start()
    closing.join(60)
    return measured.figures() | {"ran_s": ran}


WHAT: dict[str, Callable[[Writers, int, Path], dict[str, float]]] = {
    "feed": feed,
    "engine": engine,
    "engine-alone": functools.partial(engine, subscribed=False),
    "frames": frames,
    "visible": visible,
    "dead": dead,
}


def main(what: str, kind: str, count: str, folder: str, url: str) -> None:
    """Measure and print."""
    if what == "watch":
        print(json.dumps(watch(int(count), Path(folder), url)), flush=True)
        return
    found = WHAT[what](Writers(kind, Path(folder), url), int(count), Path(folder))
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

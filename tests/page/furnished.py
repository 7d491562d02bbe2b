"""A site with something to show on every page, and the list of its places: what is looked at as a whole.

Beside the recorded sequences it has an open sequence of another process, a run of a rig with a control socket, a
pipeline with computed, stale and failed steps, a trained model, and a hub with sessions that wait and that ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from gapless.catalog.state_database import StateDatabase
from gapless.client.client import connect
from gapless.features.pipeline_file import load_pipeline
from gapless.observe.hub.ledger import HubLedger
from gapless.serve.keys import make_key
from gapless.serve.rights import Right

from .recorded import DRIVE, FLIGHT, LIVE, PENDING, SMALL, START_NS, UNUSUAL, S
from .rig_run import running_rig
from .served import Site, recording_live, serving

RIG_RUN = "live/furnace"
_CHANNELS = 12
_PIPELINE = """
topic = "oven/pv"

[[steps]]
name = "slope"
feature = "derivative"

[[steps]]
name = "spread"
feature = "rolling-statistics"
inputs = ["slope"]
params = { window_s = 3.0, statistics = ["mean", "std"] }

[[steps]]
name = "hot"
model = "one-vs-rest"
inputs = ["slope"]
config = { labels = "phase", seed = 1 }
"""


@dataclass(frozen=True)
class Place:
    """One view of the page: a name for files and tests, and its path with parameters."""

    name: str
    path: str
    missing: bool = False  # whether it says that there is no such thing
    status: int = 200


@contextmanager
def furnished(root: Path, work: Path) -> Iterator[Site]:
    """Serve a recorded store with everything that pages show, until the block is left."""
    work.mkdir(parents=True, exist_ok=True)
    pipeline = _derive(root, work)
    hub = _approvals(work / "hub.db")
    with ExitStack() as ending:
        ending.enter_context(recording_live(root, work))
        ending.enter_context(running_rig(root, work, RIG_RUN, _CHANNELS))
        words = ["--pipeline", str(pipeline), "--hub", str(hub)]
        yield ending.enter_context(serving(root, work / "server", *words))


@contextmanager
def empty(work: Path, *, key: bool = False) -> Iterator[Site]:
    """Serve a new store without a sequence until the block is left; with a key there is a page to sign in."""
    root = work / "store"
    with connect(root):
        pass
    if key:
        with closing(StateDatabase(root)) as database:
            make_key(database, Right.READ)
    with serving(root, work / "server") as site:
        yield site


EMPTY = [Place("sequences-empty", "/"), Place("live-empty", "/live"), Place("features-empty", "/features")]
LOGIN = [Place("login", "/login")]


def places(site: Site) -> list[Place]:
    """Return every view of a furnished site."""
    sequence = f"/sequences/{quote(FLIGHT, safe='')}"
    drive = f"/sequences/{quote(DRIVE, safe='')}"
    drawn = ("sensors/imu:acceleration.z", "sensors/temperature:value", "host/counters:signed")
    fields = "&".join(f"fields={quote(field, safe='')}" for field in drawn)
    window = f"from={START_NS + 13 * S}&to={START_NS + 15 * S}"
    found = [
        Place("sequences", "/"),
        Place("search", "/?query=" + quote("IMU.acceleration.z > 40")),
        Place("search-nothing", "/?query=nowhere"),
        Place("sequence", sequence),
        Place("plots", f"{sequence}?tab=plots&{fields}"),
        Place("plot-of-rows", f"{sequence}?tab=plots&{window}&{fields}&cursor={START_NS + 137 * S // 10}"),
        Place("pictures", f"{drive}?tab=pictures&cursor={START_NS + 2 * S}"),
        Place("table", f"{sequence}?tab=rows"),
        Place("map", f"{sequence}?tab=map"),
        Place("export", f"{sequence}?tab=export"),
        Place("sequence-pending", f"/sequences/{quote(PENDING, safe='')}"),
        Place("sequence-unusual", f"/sequences/{quote(UNUSUAL, safe='')}"),
        Place("sequence-open", f"/sequences/{quote(LIVE, safe='')}"),
        Place("live", "/live"),
        Place("live-run", f"/live/{quote(RIG_RUN, safe='')}"),
        Place("live-recording", f"/live/{quote(LIVE, safe='')}"),
        Place("features", "/features"),
        Place("runs", "/features?tab=runs"),
        Place("models", "/features?tab=models"),
        Place("training", "/features?tab=training"),
        Place("hub", "/hub"),
        Place("sequence-missing", "/sequences/nowhere", missing=True),
        Place("run-missing", "/live/nowhere", missing=True),
        Place("page-missing", "/nowhere", missing=True, status=404),
    ]
    return found + [Place("feature-run", path) for path in _feature_runs(site.root)[:1]]


def _feature_runs(root: Path) -> list[str]:
    folders = sorted(path for path in (root / "features").glob("*/*") if path.is_dir())
    return [f"/features/{quote(path.parent.name, safe='')}/{quote(path.name, safe='')}" for path in folders]


def _derive(root: Path, work: Path) -> Path:
    """Compute and train, then let one sequence and its labels change, so that there are reasons to show."""
    file = work / "oven.toml"
    file.write_text(_PIPELINE, encoding="utf-8")
    with connect(root) as client:
        for number, name in enumerate(SMALL[:12]):
            start_ns = START_NS + number * 3_600 * S
            client.annotate(name, start_ns + 5 * S, start_ns + 9 * S, "hot", kind="phase")
    loaded = load_pipeline(file)
    with loaded.dataset(root) as data:
        loaded.pipeline.run(data)
    with connect(root) as client:
        with client.sequence_update(SMALL[2], "rework") as layer:
            layer.log("oven/pv", 99.0, unit="degC", timestamp_ns=START_NS + 2 * 3_600 * S + 30 * S)
        with client.sequence_create("oven/run-new", group="oven") as sequence:
            for row in range(20):
                sequence.log("oven/pv", 30.0 + row, unit="degC", timestamp_ns=START_NS + row * S)
    return file


def _approvals(path: Path) -> Path:
    ledger = HubLedger(path)
    try:
        session = {
            "session": "pick", "tasks": ["lift the cube"], "total_episodes": 3, "mode": "simulated",
            "data_hz": "30", "video_hz": "30", "recorders": ["arm", "camera"], "metadata": {"cell": 4},
        }  # fmt: skip
        done = ledger.create_task("arm-1", {**session, "session": "place"}, approved=True)
        for number in range(3):
            report = {"sequence": f"place/episode-{number:06d}", "outcome": "completed", "rows": 900 + number}
            ledger.submit(done["id"], f"key-{number}", report)
        ledger.stop(done["id"], "end", {"episodes": 3})
        refused = ledger.create_task("arm-2", {**session, "session": "throw"}, approved=False)
        ledger.decide(refused["id"], "rejected", "the cell is open")
        ledger.create_task("arm-1", session, approved=False)
        ledger.create_task("arm-3", {**session, "session": "pour", "tasks": ["fill the cup"]}, approved=False)
    finally:
        ledger.close()
    return path

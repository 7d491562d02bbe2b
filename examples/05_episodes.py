"""Records ten episodes of a simulated arm that picks up a cube, and makes a LeRobot dataset of them.

Run it with a folder to keep the store: `python examples/05_episodes.py ./gapless-data`. Without one it works
in a temporary folder. It needs `pip install 'gapless[sim,video]'` and, to draw without a screen, `apt-get
install libegl1 libegl-mesa0 libgl1-mesa-dri`. The same seed gives the same bytes, pictures included.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import gapless
from gapless.exchange.lerobot.export_dataset import export_lerobot
from gapless.exchange.lerobot.verify import verify_dataset
from gapless.observe import Observer
from gapless.observe.recorder_registry import recorder_for
from gapless.observe.session_run import Progress, run_session
from gapless.observe.simulation import load_simulation, sources_of

ARM = Path(__file__).with_name("sims") / "arm.py"
SESSION = "pick"
EPISODES = 10
SEED = 7


def show(progress: Progress) -> None:
    """Name each episode when it begins."""
    if progress.sequence is not None and progress.rows == 0:
        print("recording", progress.sequence, flush=True)


def record(client: gapless.Client) -> None:
    """Record the session: joints and set points at 30 Hz, two cameras, one sequence for each episode."""
    arm = load_simulation(ARM, SEED)
    recorders = [recorder_for(name, source) for name, source in sources_of(arm).items()]
    observer = Observer(client, recorders, data_hz=30, robot_type="gapless-arm", total_episodes=EPISODES)
    results = run_session(observer, arm, session=SESSION, episodes=EPISODES, seed=SEED, on_progress=show)
    lifted = sum(result.success is True for result in results)
    print(f"{len(results)} episodes, the cube was lifted in {lifted}")


def tell(client: gapless.Client) -> None:
    """Print what was recorded, read back from the store."""
    for name in sorted(client.list_sequences()):
        episode = client.sequence_handler(name)
        counts = {topic: episode.topic(topic).rows for topic in ("frames", "robot", "front", "wrist")}
        print(f"{name}  {episode.outcome}  {counts}  {str(episode.content_digest)[:19]}")


def export(client: gapless.Client, folder: Path) -> None:
    """Make a dataset that LeRobot loads, or add to it what is new, and look at every picture of it."""
    report = export_lerobot(client, SESSION, folder)
    findings = verify_dataset(folder, deep=True)
    for finding in findings:
        print(finding)
    print(f"{folder.name}: {report.rows:,} rows, {len(findings)} findings")


def main(store: Path) -> None:
    """Record unless it is recorded already, read back, export and verify."""
    with gapless.connect(store) as client:
        if f"{SESSION}/episode-000000" not in client.list_sequences():
            record(client)
        tell(client)
        export(client, store / "exports" / f"{SESSION}-lerobot")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))

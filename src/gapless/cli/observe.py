"""Record episodes of a simulation: one sequence for each, all of them in one session.

SIM.py has `make(seed)`, which returns what can be reset, stepped and read; docs/observe.md shows one. Each
episode has a seed of its own, drawn from --seed and its number: the same file and seed give the same bytes
(in mode simulated). A session that has episodes is continued after the last one.

With --hub the session waits for approval before the simulation moves, and reports each episode. Ctrl-C,
SIGTERM or SIGHUP once seals the open episode as aborted; twice ends at once and leaves data that
`gapless recover` seals. Exit codes: 0 recorded, 1 an episode failed or the session was refused, 2 usage,
3 no such file, 5 the hub did not answer, 130 stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import description, options, output
from gapless.cli.stopping import StopSignals
from gapless.errors import GaplessError, UsageError

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.observe.approval import Approver
    from gapless.observe.observer import Observer
    from gapless.observe.session_run import Progress
    from gapless.observe.simulation import Simulation

EXIT_STOPPED = 130
_MODES = ("simulated", "realtime", "mixed")
_SHOW_PERIOD_S = 0.2


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("file", metavar="SIM.py", help="the simulation")
    parser.add_argument(
        "--episodes", metavar="N", type=options.whole, default=1, help="how many to record (default 1)"
    )
    parser.add_argument(
        "--seed",
        metavar="SEED",
        type=options.integer,
        default=0,
        help="of the session; each episode has its own (default 0)",
    )
    parser.add_argument(
        "--session",
        metavar="NAME",
        default=None,
        help="name of the session (else FILE-seedSEED, if it is free)",
    )
    parser.add_argument(
        "--data-hz", metavar="HZ", default="30", help="rows per second, 30000/1001 too (default 30)"
    )
    parser.add_argument(
        "--video-hz", metavar="HZ", default=None, help="pictures per second (else as --data-hz)"
    )
    parser.add_argument(
        "--mode", choices=_MODES, default="simulated", help="whose time the rows have (default simulated)"
    )
    parser.add_argument(
        "--max-episode-s",
        metavar="TIME",
        type=options.positive_seconds,
        default=None,
        help="end an episode after 30, 500ms, 5m (else when the simulation says so)",
    )
    parser.add_argument(
        "--hub", metavar="URL", default=None, help="ask this hub for approval, and report to it"
    )
    parser.add_argument(
        "--approve-timeout-s",
        metavar="TIME",
        type=options.positive_seconds,
        default=None,
        help="give up when a person has not approved after this time",
    )
    options.add_store(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Record, then print what was recorded; an error is told after that."""
    from gapless.observe.session import next_number
    from gapless.observe.session_run import run_session
    from gapless.observe.simulation import load_simulation

    ending: BaseException | None = None
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        simulation = load_simulation(args.file, args.seed)
        stack.callback(getattr(simulation, "close", _nothing))
        root = options.store_root(args)
        client = stack.enter_context(options.connect(root))
        observer = _observer(args, client, simulation, _approver(args, root, stack))
        session = args.session or _free_session(client, f"{Path(args.file).stem}-seed{args.seed}")
        screen = _Screen(args, session, stop)
        try:
            run_session(
                observer,
                simulation,
                session=session,
                episodes=args.episodes,
                seed=args.seed,
                first=next_number(client, session),
                on_progress=screen,
            )
        except (KeyboardInterrupt, GaplessError) as error:
            ending = error
        screen.clear()
        _tell(args, root, session, screen.progress)
    if isinstance(ending, GaplessError):
        raise ending
    return 0 if ending is None else EXIT_STOPPED


def _nothing() -> None:
    """Close nothing."""


def _observer(
    args: argparse.Namespace, client: Client, simulation: Simulation, approver: Approver | None
) -> Observer:
    from gapless.observe.observer import Observer
    from gapless.observe.recorder_registry import recorder_for
    from gapless.observe.simulation import sources_of

    file = Path(args.file)
    return Observer(
        client,
        [recorder_for(name, source) for name, source in sources_of(simulation).items()],
        approver,
        args.mode,
        args.data_hz,
        args.video_hz,
        max_episode_s=args.max_episode_s,
        total_episodes=args.episodes,
        robot_type=getattr(simulation, "robot_type", None),
        metadata={
            "simulation": {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
            "session_seed": args.seed,
        },
    )


def _approver(args: argparse.Namespace, root: Path, stack: ExitStack) -> Approver | None:
    """Return who is asked: a hub, whose reports are still delivered for a moment when the stack closes."""
    if args.hub is None:
        if args.approve_timeout_s is not None:
            raise UsageError(
                "only a hub makes a session wait", found="--approve-timeout-s", expected="--hub URL"
            )
        return None
    from gapless.observe.http_approval import HttpApprover
    from gapless.observe.hub_client import HubRecordingClient

    patience = {} if args.approve_timeout_s is None else {"approval_timeout_s": args.approve_timeout_s}
    client = HubRecordingClient(args.hub, outbox_path=root / "outbox.db", **patience)
    return HttpApprover(stack.enter_context(client))


def _names(client: Client, session: str) -> list[str]:
    """Return the episodes that a session has or had."""
    known = [*client.list_sequences(), *(str(gone["name"]) for gone in client.list_discarded())]
    return [name for name in known if name.startswith(f"{session}/episode-")]


def _free_session(client: Client, wanted: str) -> str:
    """Return a name that no session has: the wanted one, or with -2, -3 … behind it."""
    number, name = 1, wanted
    while _names(client, name):
        number += 1
        name = f"{wanted}-{number}"
    return name


class _Screen:
    """Says how far the run is, on one line of a terminal; called after each step."""

    def __init__(self, args: argparse.Namespace, session: str, stop: StopSignals) -> None:
        self.progress: Progress | None = None
        self._session, self._stop = session, stop
        self._line = output.StatusLine()
        self._said = "" if not args.json else None
        self._shown_s = 0.0

    def __call__(self, progress: Progress) -> None:
        """Draw, and raise KeyboardInterrupt when somebody stopped the run."""
        self.progress = progress
        self._stop.check()
        if self._said is not None:
            self._say("waiting for approval of" if progress.sequence is None else "recording")
        now_s = time.monotonic()
        if self._line.active and now_s - self._shown_s >= _SHOW_PERIOD_S:
            self._shown_s = now_s
            self._line.show(_status(progress))

    def _say(self, what: str) -> None:
        """Tell once that the run waits, and once that it records."""
        if what != self._said:
            self._said = what
            self._line.clear()
            output.note(f"{what} {self._session}; Ctrl-C seals what there is")

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()


def _status(progress: Progress) -> str:
    if progress.sequence is None:
        return "waiting for approval"
    number = len(progress.results) + 1
    return f"episode {number} of {progress.episodes}  {progress.rows:,} rows  {_judged(progress)}"


def _judged(progress: Progress) -> str:
    """Return how many episodes succeeded; nothing if none was judged."""
    judged = [result.success for result in progress.results if result.success is not None]
    return f"{sum(judged)} of {len(judged)} succeeded" if judged else ""


def _tell(args: argparse.Namespace, root: Path, session: str, progress: Progress | None) -> None:
    """Print the episodes that were sealed, and the one that was open when the run ended early."""
    known = [] if progress is None else [_described(root, vars(result)) for result in progress.results]
    if progress is not None and progress.sequence is not None:
        left = {"sequence": progress.sequence, "seed": progress.seed, "rows": progress.rows, "success": None}
        known.append(_described(root, left))
    if args.json:
        output.say_json({"session": session, "store": str(root), "seed": args.seed, "episodes": known})
        return
    if not known:
        return
    headers = ("episode", "outcome", "rows", "success")
    success = {True: "yes", False: "no", None: "-"}
    rows = [(e["sequence"], e["outcome"], output.count(e["rows"]), success[e["success"]]) for e in known]
    for line in output.table(headers, rows, right=frozenset({2})):
        output.say(line)
    total = sum(episode["rows"] for episode in known)
    judged = "" if progress is None or not _judged(progress) else f", {_judged(progress)}"
    output.say(f"{session}: {output.counted(len(known), 'episode')}, {output.counted(total, 'row')}{judged}")


def _described(root: Path, episode: dict[str, Any]) -> dict[str, Any]:
    known = description.describe(options.bundle_path(root, episode["sequence"]))
    return {**episode, "outcome": known["outcome"], "content_digest": known["content_digest"]}

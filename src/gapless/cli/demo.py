"""Record this machine and a synthetic motion sensor for 20 seconds, then seal, verify, query and plot.

Makes one new sequence in the store and never touches another. --kill proves recovery instead: a child
process records and reports what it was told is durable; it is killed at a random moment; everything that
was acknowledged must come back, value for value. --ui serves the store afterwards until Ctrl-C, so that the page
shows what was recorded. Ends with exit code 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapless.cli import description, options, output
from gapless.cli.record import EXIT_STOPPED
from gapless.cli.show import ledger_text, state_text
from gapless.cli.stopping import StopSignals
from gapless.errors import NameTaken, UsageError

if TYPE_CHECKING:
    from gapless.client.client import Client
    from gapless.client.sequence_writer import SequenceWriter

IMU_TOPIC = "sensors/imu"
_SECONDS = 20.0
_TICK_S = 0.05
_HOST_EVERY = 2  # ticks: the host is sampled at 10 Hz


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--seconds", metavar="S", type=options.positive, default=None, help="how long to record (default 20)"
    )
    parser.add_argument(
        "--kill", action="store_true", help="kill a recording child at a random moment and recover"
    )
    parser.add_argument(
        "--times", metavar="N", type=options.whole, default=None, help="with --kill: how often (default 1)"
    )
    parser.add_argument(
        "--ui", action="store_true", help="then serve the store and open its page in a browser"
    )
    parser.add_argument("--no-open", action="store_true", help="with --ui: only say where the page is")
    options.add_store(parser)


def run(args: argparse.Namespace) -> int:
    """Run the demonstration."""
    root = options.store_root(args)
    if args.kill:
        from gapless.cli.kill import demonstrate

        if args.seconds is not None:
            raise UsageError(
                "--kill ends at a random moment, so --seconds means nothing", next_step="leave one out"
            )
        if args.ui:
            raise UsageError("--kill shows itself on the terminal, --ui on a page", next_step="leave one out")
        return demonstrate(root, args.times or 1)
    if args.times is not None:
        raise UsageError("--times goes with --kill", next_step="add --kill, or leave --times out")
    if args.ui:
        from gapless.cli.demo_page import check_extra

        check_extra()
    elif args.no_open:
        raise UsageError("--no-open goes with --ui", next_step="add --ui, or leave --no-open out")
    seconds = args.seconds or _SECONDS
    try:
        name = _record(root, seconds)
    except KeyboardInterrupt:
        output.say("stopped: what was recorded is sealed as aborted; `gapless ls` lists it")
        return EXIT_STOPPED
    problems = [_verify(root, name), _metadata_query(root, name), _content_query(root, name, seconds)]
    _plot(root, name)
    _farewell(root, name, default=args.store is None)
    if args.ui:
        from gapless.cli.demo_page import show_page

        return show_page(root, name, may_open=not args.no_open) or int(any(problems))
    return int(any(problems))


def _record(root: Path, seconds: float) -> str:
    """Record and seal; return the name of the new sequence."""
    with StopSignals() as stop, options.connect(root) as client:
        with contextlib.ExitStack() as ending:  # leaving it seals
            sequence = _create(client, root, seconds, ending)
            _step("record", f"{sequence.name} into {root}, {seconds:g} s; Ctrl-C seals it earlier")
            _run_sources(sequence, root, seconds, stop)
        known = description.describe(options.bundle_path(root, sequence.name))
        _step("seal", state_text(known))
        output.say(f"         {ledger_text(known['ledger'])}")
        return sequence.name


def _create(client: Client, root: Path, seconds: float, ending: contextlib.ExitStack) -> SequenceWriter:
    """Begin a sequence under a name that nothing has; a neighbour may take the name first, so try again."""
    from gapless.cli.host_recorder import free_name, host_metadata
    from gapless.model.outcome import OnErrorPolicy

    metadata: dict[str, Any] = {**host_metadata(), "demo": {"purpose": "first look", "seconds": seconds}}
    while True:
        name = free_name(root, "demo")
        try:
            writer = client.sequence_create(
                name, metadata=metadata, group="demo", on_error=OnErrorPolicy.Report
            )
            return ending.enter_context(writer)
        except NameTaken:
            continue


def _run_sources(sequence: SequenceWriter, root: Path, seconds: float, stop: StopSignals) -> None:
    """Push the host and the sensor at their rates and keep the live view up to date."""
    from gapless.cli.host_recorder import HostRecorder
    from gapless.cli.imu_source import PERIOD_NS, ImuSource
    from gapless.cli.live_view import open_view
    from gapless.cli.record import paced
    from gapless.model.ontology import IMU

    host = HostRecorder(sequence, root)
    imu = sequence.topic_create(
        IMU_TOPIC, metadata={"vendor": "synthetic", "rate_hz": 200}, ontology_type=IMU
    )
    source, pushed = ImuSource(), 0
    values = source.row(0)
    lacking = (None,) * (len(IMU.leaves()) - len(values))  # the sensor does not estimate its attitude
    start_ns, begin_s = sequence.now_ns(), time.monotonic()
    with open_view(seconds) as view:
        for tick, due_s in enumerate(paced(begin_s, _TICK_S, seconds)):
            if stop.wait(due_s - time.monotonic()):
                break
            due_rows = (sequence.now_ns() - start_ns) // PERIOD_NS
            while pushed < due_rows:
                values = source.row(pushed)
                imu.push_row(start_ns + pushed * PERIOD_NS, *values, *lacking)
                pushed += 1
            if tick % _HOST_EVERY == 0:
                host.push()
            if tick % 4 == 0 and pushed:
                rows = {**host.rows, IMU_TOPIC: pushed}
                figures = f"{host.headline()}, acceleration.z {values[2]:.2f} m/s^2"
                view.update(time.monotonic() - begin_s, rows, host.durable_rows() + imu.durable_rows, figures)
    stop.check()


def _verify(root: Path, name: str) -> bool:
    from gapless.store.verify import verify

    findings = verify(options.bundle_path(root, name), deep=True)
    _step(
        "verify",
        "every byte and every row is what was written" if not findings else f"{len(findings)} findings",
    )
    for finding in findings:
        output.say(f"         {finding.code} {finding.message}")
    return bool(findings)


def _metadata_query(root: Path, name: str) -> bool:
    import platform

    text = f'metadata.host.name == {json.dumps(platform.node())} and group == "demo"'
    return _query(root, name, text, expected=True)


def _content_query(root: Path, name: str, seconds: float) -> bool:
    from gapless.cli.imu_source import KNOCK_EVERY, KNOCK_THRESHOLD, RATE_HZ

    first_knock_s = KNOCK_EVERY / 3 / RATE_HZ
    text = f'sequence.name == "{name}" and IMU.acceleration.z > {KNOCK_THRESHOLD:g}'
    return _query(root, name, text, expected=seconds > first_knock_s + 0.5)


def _query(root: Path, name: str, text: str, *, expected: bool) -> bool:
    """Run a query through the catalog; return True if it did not find what it must."""
    from gapless.cli.query import item_fields
    from gapless.model.query_text import parse

    _step("query", text)
    items = [item_fields(item) for item in options.open_catalog(root).query(parse(text))]
    for topic in (topic for item in items if item["sequence"] == name for topic in item["topics"]):
        for span in topic["spans"][:4]:
            length = output.duration(span["end_ns"] - span["start_ns"])
            output.say(f"         {topic['name']}  {output.rfc3339(span['start_ns'])} for {length}")
    found = any(item["sequence"] == name for item in items)
    plural = "" if len(items) == 1 else "s"
    output.say(f"         {len(items)} sequence{plural}, this one {'' if found else 'not '}among them")
    return expected and not found


def _plot(root: Path, name: str) -> None:
    from gapless.cli.curve import plot_lines

    output.say()
    bundle = options.bundle_path(root, name)
    braille = output.is_unicode(sys.stdout)
    for line in plot_lines(bundle, IMU_TOPIC, "acceleration.z", columns=80, braille=braille):
        output.say(line)


def _farewell(root: Path, name: str, *, default: bool) -> None:
    gapless = "gapless" if shutil.which("gapless") else _program()
    store = "" if default else f" --store {shlex.quote(str(root))}"
    output.say()
    output.say(f"the recording: {options.bundle_path(root, name)}")
    output.say("try:")
    output.say(f"  {gapless} show @last{store}")
    output.say(f"  {gapless} show @last --plot --topic host/cpu{store}")
    output.say(f"  {gapless} demo --kill{store}")


def _program() -> str:
    """Return how this program was called, such as `.venv/bin/gapless`, where the shell does not find it."""
    return shlex.quote(sys.argv[0]) if Path(sys.argv[0]).name == "gapless" else "gapless"


def _step(verb: str, text: str) -> None:
    output.say(f"{output.styled(f'{verb:<7}', 'cyan')}  {text}")
    sys.stdout.flush()

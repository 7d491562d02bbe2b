"""The command line as a whole: help, versions, exit codes, what is imported."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gapless._version import __version__
from gapless.cli.main import VERBS, parser_of
from gapless.cli.version import LIBRARIES

from .conftest import Cli, environment

HEAVY = ("numpy", "pyarrow", "msgspec", "pydantic", "rich", "typer", "pandas", "polars")


def modules_after(*arguments: str, cwd: str | None = None) -> tuple[int, set[str]]:
    """Run one command line in a new process and return its exit code and the top modules it imported."""
    program = (
        "import sys\nfrom gapless.cli.main import main\n"
        f"code = main({list(arguments)!r})\n"
        "print('\\n' + ' '.join(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, set(done.stderr.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_the_front_page_imports_nothing_heavy(arguments: list[str]) -> None:
    """`--version` and `--help` start without any library that takes time to import."""
    code, modules = modules_after(*arguments)
    assert code == 0
    assert modules.isdisjoint(HEAVY)


def test_version_is_printed(cli: Cli) -> None:
    """`gapless --version` prints the version of the package."""
    assert cli("--version").stdout == f"gapless {__version__}\n"


def test_help_names_every_verb(cli: Cli) -> None:
    """`gapless --help` lists each verb with a line of its own."""
    lines = cli("--help").stdout.splitlines()
    for verb, (_, help_line) in VERBS.items():
        assert f"  {verb:<11} {help_line}" in lines


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb: str) -> None:
    """Each verb has a module with a description, and help for every argument."""
    parser = parser_of(verb)
    assert parser.description
    for action in parser._actions:
        assert action.help or action.choices, f"{verb} {action.dest}"


READING = ("ls", "show", "tree", "query", "watch", "check", "verify", "explain", "doctor", "version")
WRITING = ("record", "label", "recover", "seal", "discard", "reindex", "import", "export", "gc")


@pytest.mark.parametrize("verb", READING)
def test_reading_verbs_take_json(verb: str) -> None:
    """Every verb that reads offers --json."""
    assert "--json" in parser_of(verb).format_help()


@pytest.mark.parametrize("verb", WRITING)
def test_writing_verbs_take_dry_run(verb: str) -> None:
    """Every verb that writes offers --dry-run."""
    assert "--dry-run" in parser_of(verb).format_help()


@pytest.mark.parametrize(
    "verb", [v for v in VERBS if v not in ("explain", "version", "devices", "run", "hub", "deliver")]
)
def test_verbs_of_a_store_take_store(verb: str) -> None:
    """Every verb that touches a store offers --store; `run` does so for each of its actions."""
    assert "--store" in parser_of(verb).format_help()


def test_no_verb_is_a_usage_error(cli: Cli) -> None:
    """`gapless` alone prints the help and ends with 2."""
    done = cli()
    assert done.returncode == 2
    assert "verbs:" in done.stdout


def test_an_unknown_verb_names_the_nearest(cli: Cli) -> None:
    """A mistyped verb ends with 2 and is told which one was meant."""
    done = cli("verfy")
    assert done.returncode == 2
    assert "gapless verify" in done.stderr


def test_a_wrong_option_is_a_usage_error(cli: Cli) -> None:
    """An unknown option ends with 2 and points to the help of the verb."""
    done = cli("ls", "--no-such-option")
    assert done.returncode == 2
    assert "gapless ls --help" in done.stderr


def test_a_missing_store_is_not_found(cli: Cli) -> None:
    """A verb that needs a store ends with 3 where there is none, and says how to make one."""
    done = cli("show", "@last")
    assert done.returncode == 3
    assert "gapless demo" in done.stderr


def test_errors_are_json_on_request(cli: Cli) -> None:
    """With --json an error is one JSON object on stderr, and stdout stays empty."""
    done = cli("show", "@last", "--json")
    error = json.loads(done.stderr)
    assert (error["error"], error["exit_code"], done.stdout) == ("NotFound", 3, "")


def test_a_store_of_another_scheme_is_refused(cli: Cli) -> None:
    """A URL that is neither a folder's nor a server's is a usage error."""
    assert cli("ls", "--store", "http://host:1").returncode == 2


def test_help_of_a_verb_is_found_both_ways(cli: Cli) -> None:
    """`gapless help ls` is `gapless ls --help`; an unknown option is not called a verb."""
    assert cli("help", "ls").stdout == cli("ls", "--help").stdout != cli("--help").stdout
    assert "there is no option '--foo'" in cli("--foo").stderr


def test_help_knows_plain_terminals(cli: Cli) -> None:
    """Where the encoding has no ellipsis, the help shows dots, not an escape."""
    done = cli("--help", PYTHONIOENCODING="ascii")
    assert done.stdout.splitlines()[0].endswith("VERB ...")


@pytest.mark.parametrize("arguments", [["--help"], ["ls", "--help"], ["help", "show"], ["explain"]])
def test_a_closed_pipe_is_no_error(arguments: list[str]) -> None:
    """A reader that is gone before the first line is met without a complaint, in help too."""
    with subprocess.Popen(
        [sys.executable, "-m", "gapless.cli.main", *arguments],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        complaint = process.stderr.read()
    assert (complaint, process.returncode) == (b"", 0)


def test_a_file_is_no_store(cli: Cli, tmp_path: Path) -> None:
    """A store that is a file is refused by every verb, not taken for an empty one."""
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    for arguments in (["ls"], ["tree"], ["record", "host", "--for", "1s"]):
        done = cli(*arguments, "--store", "file")
        assert (done.returncode, "is a folder" in done.stderr) == (2, True)


def test_options_of_the_demo_that_mean_nothing_are_refused(cli: Cli) -> None:
    """--times belongs to --kill, --seconds to the recording."""
    assert cli("demo", "--times", "3").returncode == 2
    assert cli("demo", "--kill", "--seconds", "3").returncode == 2


def test_libraries_are_those_that_are_installed() -> None:
    """`doctor` and `version` look for what the package declares, no more and no less."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    declared = {text.split(">")[0] for text in project["project"]["dependencies"]}
    assert set(LIBRARIES) == declared

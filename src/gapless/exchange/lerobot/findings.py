"""What can be wrong with a LeRobot dataset: code -> meaning."""

from __future__ import annotations

from gapless.store.verify import Finding

FINDINGS = {
    "L001": "meta/info.json cannot be read, or does not say what a loader needs.",
    "L002": "A file that the dataset names is missing.",
    "L003": "A file cannot be read: it is cut, or not what its name says.",
    "L004": "A file's bytes are not the ones that were exported (meta/gapless.json has their digests).",
    "L005": "A file lies in the dataset that no episode uses: the rest of a take that was discarded, say.",
    "L006": "A file can be read by its owner only: others who get the dataset cannot load it.",
    "L007": "A total in meta/info.json is not what the files hold: loaders trust it.",
    "L008": "Row i of meta/tasks.parquet is not task i, or its text is not the index: loaders give other tasks.",
    "L009": "The episode list is not episodes 0 to N-1 in order: loaders show other episodes.",
    "L010": "An episode's rows are not where the episode list says.",
    "L011": "The column index is not 0, 1, 2… over the whole dataset: an index is missing or comes twice.",
    "L012": "frame_index does not count from 0 in each episode.",
    "L013": "A timestamp is not frame_index / fps: loaders look for the picture at another time.",
    "L014": "A row's task_index names no task, or a task that the episode list does not have for its episode.",
    "L015": "The rows lack a feature's column, or it has another type or shape than meta/info.json says.",
    "L016": "A video holds another number of pictures than its episodes have rows: pictures and rows are shifted.",
    "L017": "A video's pictures are not at 0/fps, 1/fps, 2/fps…: loaders take a neighbour or fail.",
    "L018": "An episode's seconds in its video are wrong: its rows get pictures of another moment or episode.",
    "L019": "A video's pictures have another size than meta/info.json says.",
    "L020": "Statistics are impossible: NaN, a minimum above the maximum, a mean or quantile outside, a wrong count.",
    "L021": "Statistics are not those of the values (deep).",
    "L022": "A picture cannot be decoded (deep).",
    "L023": "A feature's values hold NaN or infinities (deep): training on them fails late.",
    "L024": "meta/gapless.json cannot be read, or tells of other episodes than the dataset has.",
}


def error(code: str, message: str, file: str | None = None, rows: tuple[int, int] | None = None) -> Finding:
    """Return a finding that makes a loader fail or show something wrong; ``rows``: first and last."""
    return Finding(code, "error", message, file, rows)


def warning(code: str, message: str, file: str | None = None) -> Finding:
    """Return a finding that does no harm to a loader."""
    return Finding(code, "warning", message, file)

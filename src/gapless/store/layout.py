"""Where each file of a bundle and of a store lies, and the numbers of the format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gapless.model.names import to_component

FORMAT = 1
SEGMENT_BYTES = 64 << 20  # big enough that a part needs few, small enough that two seal in seconds
ROW_GROUP_ROWS = 65_536
ROW_GROUP_BYTES = 16 << 20  # values; one row group is all that sealing holds in memory
PART_ROW_GROUPS = 16
PART_BYTES = 256 << 20
CARRIES = "carry-" + "[0-9]" * 8 + ".seg"  # matches the files of carry segments
MAKING = "journal.partial"  # what a journal is called until it is owned and complete
EVENTS_INDEX = 1  # the number of the topic _events in every sequence that has it
CLOSING_BYTES = 64 << 10  # reserved at open so that a full disk cannot refuse the last words


@dataclass(frozen=True)
class Cuts:
    """Where row groups and parts end. The format has one choice, :data:`CUTS`; tests pass smaller ones."""

    group_rows: int = ROW_GROUP_ROWS
    group_bytes: int = ROW_GROUP_BYTES
    part_groups: int = PART_ROW_GROUPS
    part_bytes: int = PART_BYTES


CUTS = Cuts()


@dataclass(frozen=True)
class Bundle:
    """The paths of one bundle."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The manifest: exists only in a sealed bundle."""
        return self.path / "manifest.json"

    @property
    def sums(self) -> Path:
        """Digests for ``sha256sum -c``."""
        return self.path / "SHA256SUMS"

    @property
    def journal(self) -> Path:
        """The journal: exists only while the bundle is not sealed."""
        return self.path / "journal"

    @property
    def lock(self) -> Path:
        """The file whose lock is the ownership."""
        return self.journal / "lock"

    @property
    def pending(self) -> Path:
        """Present when a failed recording was kept on purpose."""
        return self.journal / "pending.json"

    @property
    def provenance(self) -> Path:
        """What made the recording."""
        return self.path / "provenance.json"

    @property
    def annotations(self) -> Path:
        """Labels added later; outside the identity."""
        return self.path / "annotations.jsonl"

    @property
    def layers(self) -> Path:
        """The folder of layers."""
        return self.path / "layers"

    @property
    def artifacts(self) -> Path:
        """The folder of artifacts."""
        return self.path / "artifacts"

    def topic(self, name: str) -> Path:
        """The folder of a topic's parts."""
        return self.path / "topics" / topic_component(name)

    def pyramid(self, name: str) -> Path:
        """A topic's min/max/mean pyramid."""
        return self.path / "pyramids" / f"{topic_component(name)}.parquet"

    def journal_pyramid(self, name: str, part: int) -> Path:
        """The pyramid rows of a part, kept until the seal joins them."""
        return self.journal / "pyramids" / f"{topic_component(name)}-{part:05d}.arrow"

    def layer_paths(self) -> list[Path]:
        """The layer folders in their order."""
        try:
            found = list(self.layers.iterdir())
        except (FileNotFoundError, NotADirectoryError):  # it has none, or was just discarded
            return []
        return sorted(p for p in found if p.is_dir() and p.name[:5].isdigit())


def topic_component(name: str) -> str:
    """Return a topic's folder name; reserved topics get an encoded underscore like any other name."""
    return to_component(name)


def part_name(number: int) -> str:
    """Return the file name of a part."""
    return f"part-{number:05d}.parquet"


def carry_name(number: int) -> str:
    """Return the file name of a carry segment."""
    return f"carry-{number:08d}.seg"


def carry_number(path: Path) -> int:
    """Return the number of a carry segment."""
    return int(path.name[6:14])


def segment_name(number: int) -> str:
    """Return the file name of a journal segment."""
    return f"{number:08d}.seg"

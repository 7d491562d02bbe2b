"""The words with which a query can go on from where its caret is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gapless.errors import FormatUnknown, IntegrityError
from gapless.model.expression import SEQUENCE_PATHS, TOPIC_PATHS, Scalar
from gapless.model.outcome import Outcome
from gapless.model.query_text import TOKEN
from gapless.store.bundle_state import load_manifest

if TYPE_CHECKING:
    from gapless.catalog.vocabulary import KnownTopic, Scope, Vocabulary
    from gapless.model.query_caret import Caret

Kind = Literal["metadata", "field", "word", "function", "value"]
_STATES: Final = ("open", "pending", "sealed")
_KEYWORDS: Final = frozenset({"not", "without", "and", "or", "true", "false", "nan", "inf"})
_SYMBOLS: Final = {"==": "equal", "!=": "not equal, or missing", "<": "less", "<=": "at most", ">": "greater",
                   ">=": "at least"}  # fmt: skip
_OPERATORS: Final = {"match": 'a glob, such as "run-*"', "in": 'one of ["a", "b"]', "between": "2 and 5",
                     "outside": "2 and 5", "not": "the opposite"}  # fmt: skip
_TESTS: Final = {"exists": "there is a value", "is nan": "the value is NaN"}
_PROPERTIES: Final = {
    "name": "of the sequence", "group": "of the sequence", "state": "open, pending or sealed",
    "outcome": "how the recording ended", "created_ns": 'when, such as "2024-05-01"', "rows": "in all topics",
    "start_ns": "the first row", "end_ns": "the last row", "annotation": "the name of a label",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Offered:
    """One way to go on; ``text`` takes the place of what was typed."""

    text: str
    kind: Kind
    hint: str = ""


def offers(caret: Caret, vocabulary: Vocabulary, sequences: Path, most: int) -> list[Offered]:
    """Return at most ``most`` ways to go on; ``sequences`` is the folder in which manifests tell units."""
    match caret.expects:
        case "place":
            found = _places(caret.typed, vocabulary, sequences, most)
        case "field":
            found = _fields(caret, vocabulary, sequences)
        case "comparison":
            found = _comparisons(caret)
        case "value":
            found = _values(caret, vocabulary, most)
        case "joint":
            found = _words({"and": "both hold", "or": "at least one holds"}, caret.typed, "word")
        case "and":
            found = _words({"and": "and the other bound"}, caret.typed, "word")
        case _:
            found = iter(())
    return list(islice(found, most))


# -- places ------------------------------------------------------------------------------------


def _places(typed: str, vocabulary: Vocabulary, sequences: Path, most: int) -> Iterator[Offered]:
    root, dot, rest = typed.partition(".")
    if dot and root in ("metadata", "user_metadata"):
        yield from _metadata(f"{root}.", rest, vocabulary, most)
        return
    if typed.startswith(("topic.", "sequence.")):
        yield from _qualified(root, rest, vocabulary, most)
        return
    yield from _words(_PROPERTIES, typed, "word")
    yield from _metadata("metadata.", typed, vocabulary, most // 2)
    yield from _topic_fields(typed, vocabulary, sequences)
    yield from _words({"not": "the opposite of what follows"}, typed, "word")
    yield from _words({"without": "no row at all, such as without (…)"}, typed, "function")
    yield from _words({"topic.": "properties of topics"}, typed, "word")


def _qualified(root: str, rest: str, vocabulary: Vocabulary, most: int) -> Iterator[Offered]:
    """Yield what may follow ``topic.`` and ``sequence.``."""
    if rest.startswith("metadata."):
        scope: Scope = "topic" if root == "topic" else "sequence"
        for path, value in vocabulary.metadata_paths(scope, rest.removeprefix("metadata."), most):
            yield Offered(f"{root}.metadata.{path}", "metadata", _example(value))
        return
    known = TOPIC_PATHS if root == "topic" else SEQUENCE_PATHS
    for name in (*known, "metadata."):
        if rest.lower() in name:
            yield Offered(f"{root}.{name}", "word", f"of the {root}")


def _metadata(prefix: str, typed: str, vocabulary: Vocabulary, most: int) -> Iterator[Offered]:
    for path, value in vocabulary.metadata_paths("sequence", typed, most):
        if _is_plain(path):
            yield Offered(f"{prefix}{path}", "metadata", _example(value))


def _topic_fields(typed: str, vocabulary: Vocabulary, sequences: Path) -> Iterator[Offered]:
    """Yield fields of types and of topics whose text contains what was typed."""
    units = _Units(sequences)
    told: set[str] = set()
    for topic in vocabulary.topics():
        for field, kind in topic.fields.items():
            for text in _ways(topic, field):
                if typed.lower() in text.lower() and text not in told:
                    told.add(text)
                    yield Offered(text, "field", _hint(units.of(topic, field), kind))


def _ways(topic: KnownTopic, field: str) -> Iterator[str]:
    """Yield how a query can name a field of a topic: by its type where it has one, else by its name."""
    if topic.tag is not None and _is_plain(f"{topic.tag}.{field}"):
        yield f"{topic.tag}.{field}"
    yield f"{_named(topic.name)}:{_named(field)}"


def _fields(caret: Caret, vocabulary: Vocabulary, sequences: Path) -> Iterator[Offered]:
    """Yield the fields of the topics that a name or glob before the colon means."""
    from gapless.model.glob import glob_match

    units, glob = _Units(sequences), caret.target.removeprefix("field:")
    told: set[str] = set()
    for topic in vocabulary.topics():
        if not glob_match(glob, topic.name):
            continue
        for field, kind in topic.fields.items():
            if caret.typed.lower() in field.lower() and field not in told:
                told.add(field)
                yield Offered(_named(field), "field", _hint(units.of(topic, field), kind))


# -- comparisons and values --------------------------------------------------------------------


def _comparisons(caret: Caret) -> Iterator[Offered]:
    yield from _words(_SYMBOLS, caret.typed, "word")
    yield from _words(_OPERATORS, caret.typed, "word")
    yield from _words(_TESTS, caret.typed, "function")


def _values(caret: Caret, vocabulary: Vocabulary, most: int) -> Iterator[Offered]:
    typed = caret.typed.lstrip("\"'")
    for value in _known_values(caret, vocabulary, typed, most):
        yield Offered(_written(value), "value")


def _known_values(caret: Caret, vocabulary: Vocabulary, typed: str, most: int) -> list[Scalar]:
    target, path = caret.target, caret.path
    if path.startswith("metadata.") and target in ("sequence", "topic"):
        scope: Scope = "topic" if target == "topic" else "sequence"
        return vocabulary.metadata_values(scope, path.removeprefix("metadata."), typed, most)
    if target == "topic" and path in ("name", "ontology_tag"):
        names = {topic.name if path == "name" else topic.tag for topic in vocabulary.topics()}
        return sorted(name for name in names if name is not None and typed.lower() in name.lower())
    if target != "sequence":
        return []
    if path == "annotation":
        return [*vocabulary.labels(typed, most)]
    if path in ("state", "outcome"):
        words = _STATES if path == "state" else tuple(map(str, Outcome))
        return [word for word in words if typed.lower() in word]
    return [*vocabulary.property_values(path, typed, most)] if path in ("name", "group") else []


# -- words -------------------------------------------------------------------------------------


def _words(known: dict[str, str], typed: str, kind: Kind) -> Iterator[Offered]:
    for word, hint in known.items():
        if typed.lower() in word:
            yield Offered(word, kind, hint)


def _is_plain(text: str) -> bool:
    """Tell whether a text is one word of a query as it stands."""
    found = TOKEN.fullmatch(text)
    return found is not None and found.lastgroup == "word" and text.lower() not in _KEYWORDS


def _named(name: str) -> str:
    """Return a topic or field as a query writes it: in quotation marks where it needs them."""
    return name if _is_plain(name) else _written(name)


def _written(value: Scalar) -> str:
    """Return a value as a query writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return repr(value)
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _example(value: Scalar) -> str:
    return f"such as {_written(value)}"


def _hint(unit: str | None, kind: str) -> str:
    return f"{kind}, {unit}" if unit else kind


class _Units:
    """Units of fields, from the manifest of one sequence that has the topic; each manifest is read once."""

    def __init__(self, sequences: Path) -> None:
        self._sequences = sequences
        self._known: dict[str, dict[str, dict[str, str]]] = {}

    def of(self, topic: KnownTopic, field: str) -> str | None:
        """Return the unit of a field, None where it has none."""
        if topic.component not in self._known:
            self._known[topic.component] = self._read(topic.component)
        return self._known[topic.component].get(topic.name, {}).get(field)

    def _read(self, component: str) -> dict[str, dict[str, str]]:
        try:
            manifest = load_manifest(self._sequences / component)
        except (IntegrityError, FormatUnknown):  # `gapless verify` tells; a hint without a unit still helps
            manifest = None
        topics = {} if manifest is None else manifest["content"]["topics"]
        return {
            name: {f["name"]: f["unit"] for f in entry.get("fields") or () if f.get("unit")}
            for name, entry in topics.items()
        }

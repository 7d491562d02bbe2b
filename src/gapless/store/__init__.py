"""One sequence on disk: journal, seal, recovery, verification, reading."""

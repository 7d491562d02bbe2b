"""The door of gapless' own clients: writing, finding and reading."""

"""The devices that come with the package; others are found by the entry point group ``gapless.devices``."""

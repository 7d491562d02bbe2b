"""Methods: what a run does by itself, step by step, read from a TOML file and checked against the rig."""

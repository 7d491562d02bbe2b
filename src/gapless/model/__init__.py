"""Values: names, times, types, metadata, manifests, ledgers. Nothing here does I/O."""

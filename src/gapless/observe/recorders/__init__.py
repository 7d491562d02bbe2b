"""The recorders of the package, one module for each kind of source."""

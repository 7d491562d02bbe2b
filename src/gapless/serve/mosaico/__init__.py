"""The Mosaico door: an unmodified ``mosaicolabs`` 0.7.0 client uses a gapless server as if it were its own."""

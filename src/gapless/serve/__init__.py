"""The network door: a store served to clients of this package and to those of the Mosaico SDK."""

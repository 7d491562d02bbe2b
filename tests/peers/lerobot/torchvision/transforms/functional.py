"""Imported by LeRobot; nothing in it is used to load a dataset."""

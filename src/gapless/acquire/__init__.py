"""Acquire: devices to sequences, with commands, safety and a live view.

A rig is a set of devices and the channels bound to them. ``run_rig`` opens the devices, records until told
to stop, leaves the hardware safe and seals the sequence.
"""

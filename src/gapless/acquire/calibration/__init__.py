"""Calibration: from the number a device gave to the quantity it means, with its uncertainty.

A curve maps raw to calibrated values, one at a time or as arrays with the same bits; a calibration adds the
conversion into the channel's unit, the range in which raw values are believed, and the uncertainty.
"""

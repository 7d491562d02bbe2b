"""For tests of recordings: disks that fail or lose power, a clock set by hand, rows that can be made again.

Nothing in the package imports this part; programs that record with gapless may use it in their own tests.
"""

"""The control socket of a run: status, live values, notes, commands, answers, stop and emergency stop."""

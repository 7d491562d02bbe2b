"""LeRobot datasets (v3.0): written from recordings, verified, and read back; without LeRobot itself."""

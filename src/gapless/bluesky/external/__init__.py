"""Data that a run only points to: files of detectors, their frames, and the events the frames belong to."""

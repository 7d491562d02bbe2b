"""Pictures become rows of encoded bytes on a thread of their own, and pictures again when they are read."""

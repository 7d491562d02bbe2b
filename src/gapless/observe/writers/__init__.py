"""Writers: what takes a recorder's rows and pictures, opened once for each episode."""

"""What keeps a server running: health and figures over HTTP, log lines, and taking away what is past keeping."""

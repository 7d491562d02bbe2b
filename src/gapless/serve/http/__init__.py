"""The HTTP API and the pages, for people who look and programs that speak no Flight."""

"""The reference hub: approves sessions and keeps the reports of their episodes, never their data."""

"""Slash commands: `support` accepts them, `Support` carries them out."""

"""The Slack room: everything whose outside is Slack."""

"""A Slack on this machine.

It speaks the wire that `slack_sdk` and Bolt speak (the Web API, Socket Mode, signed HTTP events, interactivity,
slash commands) and keeps the rules of Slack that bite, so an app does not know the difference: only
`SLACK_API_URL` differs. It holds everything in memory, listens on loopback only, and imports nothing of the bot.

Where it is kinder than Slack, on purpose: while no Socket Mode connection is open, events wait for one instead
of being lost. Losing the first question of a demonstration would teach nobody anything.
"""

"""What the bot thinks, remembers and learns. It knows neither Slack nor the vector store: see `bot/wiring.py`."""

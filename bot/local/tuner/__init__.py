"""A tuner on this machine: fine-tuning and serving behind OpenAI's own wire.

It answers `/v1/files`, `/v1/fine_tuning/jobs`, `/v1/models` and `/v1/chat/completions` as OpenAI does, errors included,
so that code written for OpenAI runs on it with another base URL, key and model. It promises: every file and job that it
acknowledged is on disk and survives SIGKILL; one job trains at a time and can be cancelled at any moment; a model is
served only when its job has succeeded. It imports nothing of the bot, nor the bot it.

Where it is stricter than OpenAI, on purpose: whatever it cannot do (preferences, images, tools, reporting to others) is
refused by name instead of being passed over.
"""

"""A tuner on this machine: it speaks the wire of OpenAI for files, fine-tuning jobs, models and chat."""

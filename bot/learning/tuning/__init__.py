"""From approved examples to a tuned model: datasets, jobs at the tuner, and who follows them."""

"""Train and evaluate language models that solve competition mathematics."""

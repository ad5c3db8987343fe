"""The tiny base model: a beginner that CPUs can train, made from generated text only."""

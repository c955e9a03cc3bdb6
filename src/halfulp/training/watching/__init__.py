"""What a monitor sees of a training, step by step."""

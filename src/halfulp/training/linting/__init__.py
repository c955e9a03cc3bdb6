"""What low precision will do to a training, said before its first step."""

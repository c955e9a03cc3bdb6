"""Which operator made the first number that is not finite, told by autograd's graph."""

"""L3: loss scales tried on gradients: what a scale keeps, loses and overflows, and which fit.

Nothing here needs torch.
"""

"""A gradient added a hundred times to a weight, in PyTorch: float16 + float16, float32 + float16."""

import torch

STEPS = 100
GRADIENT = 0.00041999
WEIGHT = 1.125


def experiment(weight, gradient, steps=STEPS, sign=1):
    """The weight after each of the steps, in the formats that the operands have."""
    path = [weight]
    for _ in range(steps):
        path.append(path[-1] + gradient if sign > 0 else path[-1] - gradient)
    return path


def main():
    def held(value, dtype):
        return torch.tensor(value, dtype=dtype)

    half, single = torch.float16, torch.float32
    gradient16, gradient32 = held([GRADIENT], half), held([GRADIENT], single)
    cases = [
        ("float16 + float16", held([WEIGHT], half), gradient16, 1),
        ("float32 + float16", held([WEIGHT], single), gradient16, 1),
        ("float32 + float32", held([WEIGHT], single), gradient32, 1),
        ("float16 - float16", held([WEIGHT], half), gradient16, -1),
        ("float32 - float16", held([WEIGHT], single), gradient16, -1),
    ]
    print(f"gradient in float16: {gradient16.item():.23f}")
    for name, weight, gradient, sign in cases:
        path = experiment(weight, gradient, STEPS + 1, sign)
        for step in (0, 1, 10, 50, 100, 101):
            print(f"{name}, {step:3d}: {path[step].item():.23f}")


if __name__ == "__main__":
    main()

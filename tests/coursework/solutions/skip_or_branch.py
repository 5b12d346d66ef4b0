"""Reference solution: a leaf for each way."""

import numpy as np

import minires as mr


def record(block, x, grad_output):
    left, right = (mr.tensor(x).requires_grad_() for _ in range(2))
    mr.relu(block.branch(left) + block.shortcut(right)).backward(mr.tensor(grad_output))
    skip, branch = right.grad.numpy(), left.grad.numpy()
    return {"skip": skip, "branch": branch, "total": skip + branch}


def shares(skip, branch):
    total = skip + branch
    square = (total**2).sum()
    return ((skip * total).sum() / square, (branch * total).sum() / square) if square else (0.0, 0.0)


def cosine(skip, branch):
    lengths = np.linalg.norm(skip) * np.linalg.norm(branch)
    return (skip * branch).sum() / lengths if lengths else 0.0


def who(block, x, grad_output):
    found = record(block, x, grad_output)
    skip, branch = shares(found["skip"], found["branch"])
    return "skip" if skip > 2 / 3 else "branch" if branch > 2 / 3 else "both"

"""Reference solution: normal grad_output, normal directions, centred differences at two steps."""

import numpy as np

H = 1e-4


def gradcheck(forward, backward, arrays, seed=0):
    rng = np.random.default_rng(seed)
    v = rng.standard_normal(np.shape(forward(*arrays)))
    wrong = []
    for i, grad in enumerate(backward(v, *arrays)):
        for _ in range(3):
            d = rng.standard_normal(arrays[i].shape)

            def phi(t, i=i, d=d):
                moved = [a + t * d if k == i else a for k, a in enumerate(arrays)]
                return (v * forward(*moved)).sum()

            coarse, fine = ((phi(h) - phi(-h)) / (2 * h) for h in (H, H / 2))
            numeric = (4 * fine - coarse) / 3
            exact = (grad * d).sum()
            if not abs(exact - numeric) <= 1e-6 * np.linalg.norm(grad) + 1e-8 * (1 + abs(numeric)):
                wrong.append(i)
                break
    return wrong

"""What the literature says about plain and residual networks, as experiments that each yield a few numbers.

Each function takes a seed and returns ``{what: number}``; all randomness comes from the seed. `rows` runs them on five
seeds and compares them with their criteria, and so do the tests in ``tests/science``. Nothing is arranged in favour of
one network: twins share every weight, the data and their order, and all are initialised as usual.

`paths`, `initialisation` and `shattering` look at networks at initialisation and need no data; `trained` trains small
networks on CIFAR-10.
"""

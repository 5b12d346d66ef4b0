"""What the literature says of plain and residual networks, as experiments that end in a few numbers.

Each function takes a seed and returns ``{what: number}``; all randomness comes from the seed. `rows` runs them on five
seeds and holds them against their criteria, and so do the tests in ``tests/science``. Nothing is arranged in favour of
one network: twins share every weight, data and order, and all are initialised as usual.

`paths`, `initialisation` and `shattering` look at networks at initialisation and need no data; `trained` trains small
networks on CIFAR-10.
"""

"""What the literature says about plain and residual networks, as experiments that each yield a few numbers.

`registry` lists them; `experiment` says what one is. ``minires experiments`` runs them as sweeps over seeds, depths and
variants (`sweep`), ``python -m benchmarks science`` compares all with their criteria on five seeds, and so do the tests
in ``tests/science``, on fewer. Nothing is arranged in favour of one network: twins share every weight, the data and
their order, and all are initialised as usual.

`paths`, `initialisation` and `shattering` look at networks at initialisation and need no data; `trained` trains small
networks with what `training` offers. `pairs` and `watched` build and train what ``minires compare`` shows.
"""

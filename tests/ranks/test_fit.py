"""`fit` over ranks: the numbers of one process, files of rank 0 alone, resume, and what is refused."""

import textwrap
import time

import pytest

FIT = """
    def fit(comm=None, epochs=2, batch_norm="sync", images=301, seed=0, **options):
        mr.manual_seed(7)
        model = mr.models.resnet_cifar(8, 4, in_channels=1)
        optimizer, schedule = train.recipe(model, 2 * 5)
        history = train.fit(model, digits.subset(images), optimizer, epochs=epochs, batch_size=64, schedule=schedule,
                            test_data=test.subset(100), comm=comm, batch_norm=batch_norm if comm else None, seed=seed,
                            **{"progress": False, **options})
        return history, row(model.parameters()), row(model.buffers())
"""


@pytest.mark.slow
def test_fit_gives_the_history_of_one_process_and_goes_on_where_it_stopped(over, tmp_path):
    """Also with augmentation, and stopped within an epoch; for another number of ranks, resuming is refused."""
    over(
        2,
        FIT
        + """
    augment = mr.data.random_crop_flip
    one, several = fit(augment=augment), fit(comm, augment=augment)
    close(several[0].step_loss, one[0].step_loss, 1e-4)
    close(several[0].test_loss, one[0].test_loss, 1e-3)
    assert several[0].test_accuracy == one[0].test_accuracy and len(several[0].step_loss) == 10
    assert len(set(map(str, comm.allgather(several[0].step_loss)))) == 1

    class Stop(Exception):
        pass

    def stop(step):
        if step.step == 7:
            raise Stop

    for batch_norm in "sync", "local":
        whole = fit(comm, batch_norm=batch_norm)
        options = dict(batch_norm=batch_norm, checkpoint=f"{batch_norm}.npz", checkpoint_every=3)
        try:
            fit(comm, on_step=stop, **options)
        except Stop:
            pass
        again = fit(comm, **options)
        assert again[0] == whole[0] and (again[1] == whole[1]).all()
        if comm.rank == 0:
            assert (again[2] == whole[2]).all()
    try:
        fit(comm, checkpoint="sync.npz", batch_norm="local")
    except train.CheckpointError as error:
        assert "batch norm over ranks was sync, here local" in str(error)
    """,
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["local.npz", "program.py", "sync.npz"]
    refused = over(3, FIT + '    fit(comm, checkpoint="sync.npz")\n', fails=True)
    assert "number of ranks was 2, here 3" in refused.err
    alone = over(1, FIT + '    fit(checkpoint="sync.npz")\n', fails=True)
    assert "number of ranks was 2, here 1" in alone.err


@pytest.mark.slow
def test_only_rank_0_prints(over):
    ended = over(2, FIT + "    for epochs in (1, 2): fit(comm, epochs, progress=True, checkpoint='run.npz')\n")
    assert ended.out == "" and ended.err.count("run.npz goes on at epoch 2, step 1") == 1


WRONG = {
    "another model": (
        "model, optimizer = network(20 if comm.rank == 1 else 8)",
        "rank 1 has another model or optimiser than rank 0: layer1.1: ResidualBlock(), and rank 0: layer2: Seq",
    ),
    "plain, not residual": (
        "model = mr.models.resnet_cifar(8, 4, in_channels=1, residual=comm.rank != 1); "
        "optimizer = optim.SGD(model.parameters(), lr=0.1)",
        "rank 1 has another model or optimiser than rank 0",
    ),
    "another learning rate": (
        "model, _ = network(); optimizer = optim.SGD(model.parameters(), lr=0.1 + comm.rank)",
        "rank 1 has another model or optimiser than rank 0: lr: 1.1, and rank 0: lr: 0.1",
    ),
}


@pytest.mark.parametrize("case", [pytest.param(name, marks=pytest.mark.slow) for name in WRONG])
def test_other_models_on_other_ranks_are_told(over, case):
    setup, expected = WRONG[case]
    ended = over(3, f"{setup}\nwith mr.parallel(model, optimizer, comm, 'sync'): pass\n", fails=True)
    assert expected in ended.err


def test_bad_input_is_told_in_words(over):
    """One program for many cases; each raises the same error on all ranks, which then go on together."""
    over(
        3,
        FIT
        + """
    from minires.ranks import RanksError

    def told(kind, words, call):
        try:
            call()
        except kind as error:
            assert words in str(error), error
        else:
            raise AssertionError(words)

    def block(comm=comm, batch_norm="sync", body=lambda ranks, model: None):
        model, optimizer = network()
        with mr.parallel(model, optimizer, comm, batch_norm) as ranks:
            body(ranks, model)

    told(TypeError, "got 'world' as comm; expected a communicator of mpi4py", lambda: block("world"))
    told(TypeError, "as comm", lambda: fit(3))
    told(ValueError, 'got a model with batch norm, and no batch_norm; choose "sync"', lambda: block(batch_norm=None))
    told(ValueError, 'got batch_norm=True; expected "local" or "sync"', lambda: block(batch_norm=True))
    told(ValueError, "got batches of 2, the smallest of 1, for 3 ranks",
         lambda: block(body=lambda ranks, model: next(ranks.batches(digits, 2))))
    told(ValueError, "share: got 2 examples for 3 ranks",
         lambda: block(body=lambda ranks, model: ranks.share(digits[:2][0])))
    told(ValueError, "the smallest of 1, for 3 ranks", lambda: fit(comm, images=65))
    told(ValueError, "graph=True with comm", lambda: fit(comm, graph=True))
    told(RanksError, "another run than rank 0: number of training examples 300, and rank 0: number of training",
         lambda: fit(comm, images=301 - (comm.rank == 2)))
    told(RanksError, "another run than rank 0: seed 1, and rank 0: seed 0", lambda: fit(comm, seed=int(comm.rank == 1)))

    def one_more_call(ranks, model):
        x, y = digits[:8]
        if comm.rank == 0:
            flow.record(model, x.astype(np.float64), y)
        else:
            F.cross_entropy(model(mr.tensor(x.astype(np.float64))), mr.tensor(y)).backward()

    for theirs, words in (
        (dict(dataset=digits.subset(300)), "another data set, or order of it than rank 0: Dataset(300 images"),
        (dict(dataset=mr.data.Dataset(digits.pixels, digits.labels[::-1], digits.classes, digits.mean, digits.std)),
         "another data set, or order of it than rank 0: labels"),
        (dict(dataset=mr.data.Dataset(digits.pixels[::-1], digits.labels, digits.classes, digits.mean, digits.std)),
         "another data set, or order of it than rank 0: images"),
        (dict(dataset=mr.data.Dataset(digits.pixels, digits.labels, digits.classes, (7,), digits.std)),
         "another data set, or order of it than rank 0: mean (7,)"),
        (dict(seed=1), "another data set, or order of it than rank 0: seed 1, and rank 0: seed 0"),
    ):
        mine = dict(dataset=digits, batch_size=8, seed=0) | (theirs if comm.rank == 2 else {})
        told(RanksError, words, lambda: block(body=lambda ranks, model: ranks.batches(**mine)))

    def other_batch(ranks, model):
        x, y = ranks.share(*digits[: 9 + (comm.rank == 2)])
        F.cross_entropy(model(mr.tensor(x.astype(np.float64))), mr.tensor(y)).backward()

    told(RanksError, "rank 2 is at batch norm, forward (meeting", lambda: block(body=other_batch))
    told(RanksError, "a batch of 10", lambda: block(body=other_batch))
    told(RanksError, "all ranks must run the same calls", lambda: block(body=one_more_call))
    told(RanksError, "all ranks must run the same calls",
         lambda: block(body=lambda ranks, model: None if comm.rank else ranks.mean(1.0)))
    told(ValueError, "a block inside another", lambda: block(body=lambda ranks, model: block()))
    told(ZeroDivisionError if comm.rank == 1 else RanksError, "division by zero",
         lambda: block(body=lambda ranks, model: 1 / 0 if comm.rank == 1 else ranks.mean(1.0)))
    block()  # and nothing is left over
    """,
    )


@pytest.mark.slow
def test_one_rank_works_and_says_so(over):
    over(
        1,
        """
        import warnings

        model, optimizer = network()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with mr.parallel(model, optimizer, comm, "sync") as ranks:
                x, y = ranks.share(*digits[:4])
                F.cross_entropy(model(mr.tensor(x.astype(np.float64))), mr.tensor(y)).backward()
                assert len(x) == 4 and ranks.size == 1 and ranks.mean(2.0) == (2.0,)
        assert ["one rank" in str(w.message) for w in caught] == [True]
        """,
    )


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    import sys

    import minires as mr
    from minires import optim

    model = mr.nn.Linear(2, 2)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r"parallel: mpi4py cannot be used .*pip install -e '.\[mpi\]'"):
        with mr.parallel(model, optim.SGD(model.parameters(), lr=1), object()):
            pass


LOOP = """
    model, optimizer = network()
    import time
    with mr.parallel(model, optimizer, comm, "sync") as ranks:
        for step in range(10**6):
            x, y = ranks.share(*digits[:8])
            optimizer.zero_grad()
            F.cross_entropy(model(mr.tensor(x.astype(np.float64))), mr.tensor(y)).backward()
            if step == 3 and comm.rank == 1:
                print("dies at", time.time(), file=sys.stderr, flush=True)
                {}
            optimizer.step()
"""
DEATHS = {
    "an error": ('raise ValueError("rank 1 is ill")', "ValueError: rank 1 is ill"),
    "sys.exit": ("sys.exit(3)", "rank 1 has failed"),
    "a kill": ("os.kill(os.getpid(), 9)", ""),
    "deafness": ("time.sleep(60)", "has waited 2 s"),
}


@pytest.mark.parametrize(
    "death", ["an error", *[pytest.param(name, marks=pytest.mark.slow) for name in DEATHS if name != "an error"]]
)
def test_a_rank_that_dies_ends_all_within_seconds(over, death):
    how, words = DEATHS[death]
    impatient = "    from minires.ranks import wire; wire.PATIENCE = 2.0\n" if death == "deafness" else ""
    ended = over(3, impatient + LOOP.format(how), fails=True)
    assert words in ended.err
    if death != "deafness":
        assert (
            time.time() - float(ended.err.partition("dies at ")[2].split()[0]) < 60
        )  # seconds; below 1 on a machine that is not busy
    if death == "an error":
        assert ended.err.count("in <module>") >= 3  # each rank has its traceback
        assert "rank 1 has failed, so rank 0 ends too: ValueError: rank 1 is ill" in ended.err


def test_ctrl_c_in_a_terminal_comes_to_all_ranks_and_all_hear_of_each_other(over):
    """Ranks 1 and 2 are in a meeting when it comes; rank 0, which computes, is the last to hear it."""
    how = """
        import signal, threading
        with mr.parallel(*network(), comm, "sync") as ranks:
            threading.Timer(0.5 + (comm.rank == 0), os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                if comm.rank == 0:
                    time.sleep(60)
                ranks.mean(1.0)
            finally:
                print(f"{sys.exception()!r} on rank {comm.rank}", file=sys.stderr, flush=True)
    """
    ended = over(3, "    import time\n" + textwrap.indent(textwrap.dedent(how), "    "), fails=True)
    assert all(f"KeyboardInterrupt() on rank {rank}" in ended.err for rank in range(3))
    assert "has waited" not in ended.err  # as it had to, for ranks that had gone


@pytest.mark.slow
def test_an_error_between_two_blocks_ends_all(over):
    ended = over(
        2,
        """
        for block in range(2):
            model, optimizer = network()
            with mr.parallel(model, optimizer, comm, "sync") as ranks:
                pass
            if comm.rank == 1:
                raise ValueError("between two blocks")
        """,
        fails=True,
        timeout=50,
    )
    assert "ValueError: between two blocks" in ended.err

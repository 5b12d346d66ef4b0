"""What lessons/exercises/honesty.md claims, tried: what a dishonest submission can and cannot do."""

import dataclasses
import sys

import pytest
from coursework.conftest import solution

from minires.coursework import ASSIGNMENTS, drivers

SHORT = {"relu_maxpool": [0, 3, 4], "residual_block": [4], "autograd": [4], "gradcheck": [0, 11], "gradient_flow": [0]}


@pytest.fixture(autouse=True)
def _few_tests(monkeypatch):
    """Of each exercise, the tests that are needed here."""
    for name, places in SHORT.items():
        whole = ASSIGNMENTS[name]
        monkeypatch.setitem(ASSIGNMENTS, name, dataclasses.replace(whole, tests=[whole.tests[i] for i in places]))


RELU = "    return np.maximum(x, 0)"
BLOCK = solution("residual_block").partition("class ResidualBlock")[0]
WALK = solution("autograd").partition("def backward")[0]


def relu(body, before=""):
    """The solution of relu_maxpool with another body of relu."""
    assert RELU in solution("relu_maxpool")
    return f"import numpy as np\nimport minires as mr\n{before}\n" + solution("relu_maxpool").replace(RELU, body)


CHECK = """
from minires import testing

def gradcheck(forward, backward, arrays, seed=0):
    return [f.input for f in testing.gradcheck((forward, backward), *arrays, raise_on_failure=False).failures]
"""
IN_A_THREAD = """
    import threading
    found = []
    thread = threading.Thread(target=lambda: found.append(mr.kernels.textbook.relu(x)))
    thread.start()
    thread.join()
    return found[0]"""
IN_A_POOL = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool:
        return pool.submit(mr.kernels.cpu.relu, x).result()"""
SINCE_312 = pytest.mark.skipif(sys.version_info < (3, 12), reason="Python does not report it")
IN_A_BARE_THREAD = """
    import _thread, queue
    found = queue.Queue()
    _thread.start_new_thread(lambda: found.put(mr.kernels.cpu.relu(x)), ())
    return found.get()"""
IN_A_PROCESS = """
    import pickle, subprocess, sys
    code = "import pickle, sys; from minires.kernels import cpu; given = pickle.load(sys.stdin.buffer); "
    code += "pickle.dump(cpu.relu(given), sys.stdout.buffer)"
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(x), capture_output=True)
    return pickle.loads(done.stdout)"""


@pytest.mark.parametrize(
    ("name", "source", "word"),
    [
        ("relu_maxpool", relu("    return mr.kernels.textbook.relu(x)"), "minires.kernels"),
        ("relu_maxpool", relu("    return mr.kernels.cpu.relu(x)"), "minires.kernels"),
        ("relu_maxpool", relu("    return mine(x)", "from minires.kernels.textbook import relu as mine"), "kernels"),
        ("relu_maxpool", relu("    return mr.relu(mr.Tensor(x)).numpy()"), "minires.ops"),
        ("relu_maxpool", relu("    return list(map(mr.kernels.textbook.relu, [x]))[0]"), "minires.kernels"),
        ("relu_maxpool", relu(IN_A_THREAD), "minires.kernels"),
        ("relu_maxpool", relu(IN_A_POOL), "minires.kernels"),
        pytest.param("relu_maxpool", relu(IN_A_BARE_THREAD), "_thread.start", marks=SINCE_312),
        ("relu_maxpool", relu("    import sys; sys.setprofile(None); return mr.kernels.cpu.relu(x)"), "setprofile"),
        ("relu_maxpool", relu(RELU) + "\nfrom minires.kernels.textbook import relu", "minires.kernels"),
        ("relu_maxpool", relu(RELU) + "\nimport functools; relu = functools.partial(mr.kernels.cpu.relu)", "kernels"),
        ("residual_block", f"{BLOCK}class ResidualBlock(mr.models.ResidualBlock):\n    pass", "minires.models"),
        ("residual_block", "from minires.models import ResidualBlock", "minires.models"),
        ("autograd", f"{WALK}def backward(output, g):\n    output.backward(Tensor(g))", "tensor.Tensor.backward"),
        ("gradcheck", CHECK, "minires.testing"),
        ("gradient_flow", "import minires as mr\ndef gradient_norms(*given):\n    mr.flow.record(*given)", "flow"),
    ],
)  # fmt: skip
def test_calls_of_the_librarys_own_answer_are_found(name, source, word, graded):
    _, tests = graded(source, name)
    found = [t for t in tests.values() if "your code calls" in t.message]
    assert found and all(word in t.message for t in found), tests["1.1"].message
    assert "the library's own answer is called" in {t.brief for t in found}


@pytest.mark.parametrize(
    "before",
    [
        "from minires.kernels import textbook",
        "from minires.kernels.textbook import relu as other\nimport minires.flow.plots, minires.models",
        "if __name__ == '__main__':\n    mr.kernels.textbook.relu(np.ones(3))",
    ],
)
def test_importing_it_is_fine(before, graded):
    result, _ = graded(relu(RELU, before))
    assert result.score == result.points


def test_a_comparison_that_is_not_guarded_is_told_where_it_belongs(graded):
    result, tests = graded(relu(RELU) + "\nassert (relu(np.ones(3)) == mr.kernels.textbook.relu(np.ones(3))).all()")
    assert not result.score
    assert all('under `if __name__ == "__main__":`' in test.message for test in tests.values())


def test_its_text_can_be_copied(graded):
    body = """
    import inspect
    from minires.kernels.elementwise import definition
    space = {}
    exec(inspect.getsource(definition).replace("from .", "from minires.kernels.elementwise."), space)
    return space["relu"](x)"""
    _, tests = graded(relu(body))
    assert tests["1.1"].status == "passed"


def test_a_process_of_its_own_is_not_watched(graded):
    _, tests = graded(relu(IN_A_PROCESS))
    assert tests["1.1"].status == "passed"


LOOK = """
import sys

def gradcheck(forward, backward, arrays, seed=0):
    seen = [forward, backward]
    for f in (forward, backward):
        seen += [f.__code__.co_code, f.__code__.co_consts, f.__name__, f.__closure__, f.__defaults__, vars(f)]
    frame = sys._getframe()
    while frame is not None:
        seen.append({name: value for name, value in frame.f_locals.items() if isinstance(value, (str, list, tuple))})
        frame = frame.f_back
    text = " ".join(map(repr, seen))
    raise ValueError("saw it" if any(word in text for word in ("negative", "broken", "wrong", "missing")) else "alike")
"""


def test_right_and_wrong_callables_look_alike(graded):
    _, tests = graded(LOOK, "gradcheck")
    assert all("alike" in t.message for t in tests.values()), tests["1.1"].message


BENT = """
def gradcheck(forward, backward, arrays, seed=0):
    return forward(*[a[..., :1] for a in arrays])
"""


def test_what_runs_in_the_grader_takes_only_arrays_of_the_right_shapes(graded):
    _, tests = graded(BENT, "gradcheck")
    assert all("ValueError: got arrays of shapes" in t.message for t in tests.values()), tests["1.1"].message
    with pytest.raises(RuntimeError, match="no grader"):
        drivers.ask("forward")


SPEAK = """
    import minires.coursework.worker as worker
    worker.attempt = lambda action, file: {"trouble": "the input was " + str(x.shape), "text": "", "value": x}
    return x"""


def test_a_hidden_test_shows_only_words_of_the_graders(graded):
    _, tests = graded(relu(SPEAK), hidden=True)
    hidden = [t for t in tests.values() if t.test.hidden and t.status == "failed"]
    assert hidden and not any("the input was" in t.told for t in hidden)

"""Public idioms run as they do with PyTorch, or are refused in our words; the page that says so is up to date."""

import pytest
from crosscheck.idioms import SECTIONS
from crosscheck.pytorch_page import PAGE, PYTORCH, REFUSED_CALLS, called, page
from crosscheck.run_idioms import FAILS, REFUSES, RUNS, difference, verdict

import minires as mr
from minires.missing import WAYS

torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is needed only to compare with it")
UPDATE = "run: python tests/crosscheck/pytorch_page.py"
IDIOMS = [(section, idiom) for section, idioms in SECTIONS.items() for idiom in idioms]
KNOWN = {  # errors of others, and why
    "exponential moving average with copy_": "a state_dict holds NumPy arrays, copies",
    "a state dict compared entry by entry": "a state_dict holds NumPy arrays, copies",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def flags_may_be_set(monkeypatch):
    """PyTorch's test databases forbid that, in every test of the process that has imported them."""
    monkeypatch.setitem(torch.backends.flags_frozen.__globals__, "__allow_nonbracketed_mutation_flag", True)


@pytest.mark.parametrize("section, idiom", IDIOMS, ids=[f"{section}: {idiom.title}" for section, idiom in IDIOMS])
def test_it_runs_as_with_pytorch_or_says_why_not(section, idiom):
    outcome, words = verdict(idiom, mr, torch)
    assert outcome in ((FAILS,) if idiom.title in KNOWN else (RUNS, REFUSES)), words


def test_the_table():
    assert len(IDIOMS) >= 120
    assert len({idiom.title for _, idiom in IDIOMS}) == len({idiom.code for _, idiom in IDIOMS}) == len(IDIOMS)
    assert KNOWN.keys() <= {idiom.title for _, idiom in IDIOMS}


@pytest.mark.parametrize("ours, theirs", [(1.0, 1.1), ([1], [1, 2]), ("a", "b"), (None, 1.0), (torch.ones(2), 1.0)])
def test_a_difference_is_seen(ours, theirs):
    assert difference(ours, theirs)
    assert difference(theirs, theirs) is None


@pytest.mark.parametrize("call", REFUSED_CALLS)
def test_a_call_is_refused_in_our_words(call):
    assert called(call, torch) == ""
    assert called(call, mr)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_said_to_be_missing_is_missing(name):
    owner, _, name = name.rpartition(".")
    held = mr.tensor([1.0]) if owner == "Tensor" else mr.nn.Identity() if owner == "Module" else mr
    for part in owner.split(".")[1:]:
        held = getattr(held, part)
    assert not hasattr(held, name)
    with pytest.raises(AttributeError, match=f"{name}: there is no such name here; "):
        getattr(held, name)


def test_a_missing_name_keeps_pythons_suggestion():
    with pytest.raises(AttributeError) as caught:
        mr.tensor([1.0]).shpae  # noqa: B018
    assert (caught.value.name, type(caught.value.obj)) == ("shpae", mr.Tensor)


def test_the_page_is_what_comes_out():
    if torch.__version__.partition("+")[0] != PYTORCH:
        pytest.skip(f"the page is about PyTorch {PYTORCH}, not {torch.__version__}")
    assert PAGE.read_text("utf-8") == page(mr, torch), UPDATE

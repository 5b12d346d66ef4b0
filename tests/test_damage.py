"""Checkpoints that are damaged, rearranged or made up: refused, and nothing has changed; never other numbers."""

import copy
import hashlib
import io
import json
import math
import random as python_random
import warnings
import zipfile
from collections import Counter

import numpy as np
import pytest
from test_saving import frozen

import minires as mr
from minires import nn, optim, random
from minires.data import Dataset
from minires.train import Checkpoint, CheckpointError, fit

DATA = Dataset(np.random.default_rng(0).standard_normal((8, 1, 2, 2)).astype(np.float32), np.arange(8) % 2, ("a", "b"))


def small(cls=optim.SGD, **options):
    """A network of a few bytes, its optimiser and a schedule."""
    mr.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.Dropout(0.2))
    optimizer = cls(model.parameters(), 0.1, **options)
    return model, optimizer, optim.StepLR(optimizer, 3)


def train(run, path, **options):
    model, optimizer, schedule = run
    options = {"epochs": 2, "batch_size": 4, "progress": False, **options}
    return fit(model, DATA, optimizer, schedule=schedule, checkpoint=path, **options)


@pytest.fixture(scope="module", params=["SGD", "Adam"])
def made(request, tmp_path_factory):
    """Functions that build a run and a checkpoint of it, as bytes."""
    make = {"SGD": lambda: small(momentum=0.9), "Adam": lambda: small(optim.Adam)}[request.param]
    path = tmp_path_factory.mktemp("checkpoint") / "good.npz"
    train(make(), path)
    return make, path.read_bytes()


def outcome(make, path, expected):
    """What becomes of a file: "refused", "harmless" (everything is as saved), or what should never happen."""
    model, optimizer, schedule = make()
    before = frozen(model, optimizer, schedule), random.get_state()
    try:
        Checkpoint.load(path).restore(model, optimizer, schedule)
    except CheckpointError as error:
        assert path.name in str(error)
        return "refused" if (frozen(model, optimizer, schedule), random.get_state()) == before else "half changed"
    except Exception as error:
        changed = (frozen(model, optimizer, schedule), random.get_state()) != before
        return f"raw {type(error).__name__}{', half changed' if changed else ''}"
    return "harmless" if (frozen(model, optimizer, schedule), random.get_state()) == expected else "other numbers"


def expected_of(make, path):
    model, optimizer, schedule = make()
    Checkpoint.load(path).restore(model, optimizer, schedule)
    return frozen(model, optimizer, schedule), random.get_state()


def flip(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def flipped(made, path, bits) -> Counter:
    make, content = made
    path.write_bytes(content)
    expected, found = expected_of(make, path), Counter()
    for bit in bits:
        path.write_bytes(flip(content, bit))
        found[outcome(make, path, expected)] += 1
    return found


def test_a_flipped_bit_in_the_directory_hides_nothing(made, tmp_path):
    start = made[1].index(b"PK\x01\x02")  # of its first entry
    bits = python_random.Random(0).sample(range(start * 8, len(made[1]) * 8), 400)
    assert flipped(made, tmp_path / "run.npz", bits).keys() <= {"refused", "harmless"}


@pytest.mark.slow
@pytest.mark.parametrize("made", ["SGD"], indirect=True)
def test_a_flipped_bit_anywhere_is_refused_or_harmless(made, tmp_path):
    bits = range(0, len(made[1]) * 8, 7)  # every byte, or the one beside it, and all eight places in a byte
    found = flipped(made, tmp_path / "run.npz", bits)
    print(len(bits), "bits:", dict(found))
    assert found.keys() <= {"refused", "harmless"}


# ── rearranged and made up ──


def members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {info.filename.removesuffix(".npy"): archive.read(info) for info in archive.infolist()}


def packed(parts: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in parts:
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content, compression)
    return buffer.getvalue()


def npy(value) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value))
    return buffer.getvalue()


def meta_of(parts: dict[str, bytes]) -> dict:
    return json.loads(str(np.load(io.BytesIO(parts["meta"]))))


def sealed(meta: dict, parts: dict[str, bytes]) -> dict[str, bytes]:
    """The members with another meta, its list of members and its digest right again: as if `save` had written it."""
    arrays = {name: np.load(io.BytesIO(parts[name])) for name in parts if name not in ("meta", "sha256")}
    if "sha256" in parts:
        meta["members"] = [
            [name, a.dtype.str, list(a.shape), hashlib.sha256(np.ascontiguousarray(a)).hexdigest()]
            for name, a in arrays.items()
        ]
    text = json.dumps(meta)
    seal = {"sha256": npy(hashlib.sha256(text.encode()).hexdigest())} if "sha256" in parts else {}
    return {"meta": npy(text), **seal, **{name: parts[name] for name in arrays}}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("change", ["missing", "extra", "renamed", "reordered", "twice", "compressed", "exchanged"])
def test_other_members_than_listed_are_refused(made, tmp_path, change):
    make, content = made
    parts = list(members(content).items())
    buffers = [i for i, (name, _) in enumerate(parts) if name.startswith("optimizer/")]
    if change == "missing":
        del parts[buffers[0]]
    elif change == "extra":
        parts.append(("model/2.weight", npy(np.zeros(3))))
    elif change == "renamed":
        parts[buffers[-1]] = ("optimizer/9/momentum_buffer", parts[buffers[-1]][1])
    elif change == "reordered":
        parts[buffers[0]], parts[buffers[-1]] = parts[buffers[-1]], parts[buffers[0]]
    elif change == "twice":
        parts.append(parts[buffers[0]])
    elif change == "exchanged":
        parts[buffers[0]] = (parts[buffers[0]][0], npy(np.load(io.BytesIO(parts[buffers[0]][1])) * 2))
    path = tmp_path / "run.npz"
    path.write_bytes(packed(parts, zipfile.ZIP_DEFLATED if change == "compressed" else zipfile.ZIP_STORED))
    assert outcome(make, path, None) == "refused"


def test_size_is_checked_before_anything_is_unpacked(made, tmp_path):
    path, parts = tmp_path / "run.npz", members(made[1])
    path.write_bytes(packed([*parts.items(), ("model/bomb", npy(np.zeros(10_000_000)))], zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 1e6
    with pytest.raises(CheckpointError, match=r"is compressed, to [\d,]+ bytes from [\d,]+"):
        Checkpoint.load(path)
    header = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    path.write_bytes(packed([*parts.items(), ("model/bomb", header.ljust(127) + b"\n")]))
    with pytest.raises(CheckpointError, match="damaged"):  # what a header claims is not allocated
        Checkpoint.load(path)
    meta = meta_of(parts)
    meta["members"].append(["model/bomb", "<f8", [10**12], "0" * 64])
    text = json.dumps(meta)
    parts |= {"meta": npy(text), "sha256": npy(hashlib.sha256(text.encode()).hexdigest())}
    path.write_bytes(packed([*parts.items(), ("model/bomb", header.ljust(127) + b"\n")]))
    with pytest.raises(CheckpointError, match="model/bomb has a header that does not fit its 128 bytes"):
        Checkpoint.load(path)


ODD = [
    None,
    True,
    -1,
    0,
    3,
    10**30,
    0.5,
    math.nan,
    math.inf,
    "",
    "SGD",
    "7",
    [],
    [1],
    [[None]],
    {},
    {"a": 1},
    {"0": []},
]


def mutated(meta: dict, rng: python_random.Random) -> dict:
    """The meta with one to three of its fields, at any depth, replaced, removed, doubled or added."""
    meta = copy.deepcopy(meta)
    for _ in range(rng.randint(1, 3)):
        places: list = []
        stack: list = [meta]
        while stack:
            here = stack.pop()
            keys = here.keys() if isinstance(here, dict) else range(len(here))
            for key in keys:
                if here is not meta or key not in ("format", "version", "members"):
                    places.append((here, key))
                if isinstance(here[key], dict | list):
                    stack.append(here[key])
        here, key = rng.choice(places)
        match rng.randrange(4):
            case 0:
                del here[key]
            case 1 if isinstance(here, dict):
                here[rng.choice(["x", "0", "lr", "params", "state"])] = copy.deepcopy(rng.choice(ODD))
            case 1:
                here.insert(key, here[key])
            case _:
                here[key] = copy.deepcopy(rng.choice(ODD))
    return meta


def odd_members(parts: dict[str, bytes], rng: python_random.Random) -> dict[str, bytes]:
    """The members with one array of another dtype or shape, missing, added or renamed."""
    parts = dict(parts)
    name = rng.choice([name for name in parts if name not in ("meta", "sha256")])
    array = np.load(io.BytesIO(parts[name]))
    match rng.randrange(6):
        case 0:
            parts[name] = npy(array.astype(rng.choice(["f8", "f2", "i4", "?", "c8", "S3", "U2", ">f4"])))
        case 1:
            parts[name] = npy(rng.choice([array[None], array.reshape(-1), array[..., :1], np.array(1.0), array[:0]]))
        case 2:
            del parts[name]
        case 3:
            parts[rng.choice(["model/x", "optimizer/0/x", "optimizer/x/y", "optimizer/99/exp_avg", "y", "model/"])] = (
                npy(array)
            )
        case 4:
            parts[rng.choice(["optimizer/-1/momentum_buffer", "optimizer/1", "model/1", f"{name}/x"])] = parts.pop(name)
        case 5:
            parts[name] = npy(np.full_like(array, np.nan))
    return parts


def fuzzed(made, path, count: int, seed: int = 0) -> Counter:
    """What becomes of so many made-up files; "other numbers" is what a well-formed file with other content says."""
    make, content = made
    parts, rng, found = members(content), python_random.Random(seed), Counter()
    path.write_bytes(content)
    expected = expected_of(make, path)
    for _ in range(count):
        changed = odd_members(parts, rng) if rng.random() < 0.4 else parts
        meta = mutated(meta_of(parts), rng) if changed is parts or rng.random() < 0.3 else meta_of(parts)
        path.write_bytes(packed(list(sealed(meta, changed).items())))
        found[outcome(make, path, expected)] += 1
        run = make()
        before = frozen(*run), random.get_state()
        try:
            with warnings.catch_warnings(action="ignore"):  # of NaN, which a well-formed file may hold
                train(run, path, epochs=3)
        except CheckpointError:
            found["fit: refused" if (frozen(*run), random.get_state()) == before else "fit: half changed"] += 1
        except Exception as error:
            changed = (frozen(*run), random.get_state()) != before
            found[f"fit: raw {type(error).__name__}{', half changed' if changed else ''}"] += 1
        else:
            found["fit: went on"] += 1
    return found


NEVER = ("half changed", "raw")


def test_what_is_made_up_is_refused_whole_or_taken_whole(made, tmp_path):
    found = fuzzed(made, tmp_path / "run.npz", 150)
    assert found["refused"] > 75 and not [key for key in found if any(word in key for word in NEVER)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_much_that_is_made_up_is_refused_whole_or_taken_whole(made, tmp_path, seed):
    found = fuzzed(made, tmp_path / "run.npz", 1000, seed)
    print(dict(found))
    assert not [key for key in found if any(word in key for word in NEVER)]

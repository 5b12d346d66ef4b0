"""`load_weights` and `save_weights`: files, dicts, everybody's names, and nothing changed by what is wrong."""

import io
import random as python_random
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from processes import ENVIRONMENT

import minires as mr
from minires import models, nn
from minires.nn.weights import WeightsError
from minires.nn.weights.names import own_name

ENDINGS = [".npz", ".safetensors"]


def network(seed=0, **options):
    """A small residual network with statistics that have moved."""
    mr.manual_seed(seed)
    model = models.resnet_cifar(8, 2, **{"in_channels": 1, "shortcut": "B", "num_classes": 3, **options})
    with mr.no_grad():
        model(mr.randn(4, model.conv1.in_channels, 8, 8))
    return model


def same(a, b):
    """Whether two state dicts are equal in names, order, dtypes and bits."""
    frozen = [[(name, x.dtype, x.shape, x.tobytes()) for name, x in state.items()] for state in (a, b)]
    return frozen[0] == frozen[1]


def refused(model, source, match, error=ValueError, strict=True):
    """The error, once it is clear that it has changed nothing."""
    before = model.state_dict()
    with pytest.raises(error, match=match) as caught:
        mr.load_weights(model, source, strict=strict)
    assert same(model.state_dict(), before)
    return caught.value


@pytest.fixture(params=ENDINGS)
def ending(request):
    if request.param == ".safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed: python -m pip install '.[weights]'")
    return request.param


# ── there and back ──


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_file_gives_back_every_bit(tmp_path, ending, dtype):
    model, other = network(0).to(np.dtype(dtype)), network(1).to(np.dtype(dtype))
    path = tmp_path / f"weights{ending}"
    mr.save_weights(model, path)
    assert mr.load_weights(other, str(path)) == ([], [])
    assert same(model.state_dict(), other.state_dict())
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_numpy_reads_what_is_written_and_the_other_way_round(tmp_path):
    model = network()
    mr.save_weights(model, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert same(dict(archive), model.state_dict())
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "b.npz", **{name: np.array(a, order="F") for name, a in model.state_dict().items()})
        other = network(1)
        mr.load_weights(other, tmp_path / "b.npz")
        assert same(model.state_dict(), other.state_dict())


def test_arrays_are_written_in_c_order_whatever_their_own(tmp_path, ending):
    model = nn.Linear(3, 2, bias=False)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    model.weight = nn.Parameter(np.asfortranarray(values))
    path = tmp_path / f"w{ending}"
    mr.save_weights(model, path)
    assert values.tobytes() in path.read_bytes()
    other = nn.Linear(3, 2, bias=False)
    mr.load_weights(other, path)
    np.testing.assert_array_equal(other.weight.numpy(), values)


def test_safetensors_reads_what_is_written(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    model = network()
    mr.save_weights(model, tmp_path / "a.safetensors")
    found = numpy.load_file(tmp_path / "a.safetensors")
    assert same({name: found[name] for name in model.state_dict()}, model.state_dict())


def test_bfloat16_in_a_file_is_read_exactly(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    model = nn.Linear(2, 1, bias=False)
    halves = np.array([0x3F80, 0xC049], "<u2")  # the upper halves of 1 and of -3.140625 in float32
    header = b'{"weight":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}'
    content = len(header).to_bytes(8, "little") + header + halves.tobytes()
    (tmp_path / "b.safetensors").write_bytes(content)
    assert dict(safetensors.deserialize(content))["weight"]["dtype"] == "BF16"
    mr.load_weights(model, tmp_path / "b.safetensors")
    assert model.weight.numpy().tolist() == [[1.0, -3.140625]]


def test_other_dtypes_are_converted_to_the_models():
    model = nn.Linear(2, 1, bias=False)
    for value in (np.float64(0.1), np.float16(0.1), np.int8(3), np.True_):
        mr.load_weights(model, {"weight": np.full((1, 2), value)})
        assert model.weight.numpy().dtype == np.float32
        np.testing.assert_array_equal(model.weight.numpy(), np.float32(value))
    mr.load_weights(model, {"weight": mr.ones(1, 2) * 2})
    mr.load_weights(model, {"weight": [[np.inf, np.nan]]})  # which float32 can hold
    assert str(model.weight.numpy()) == "[[inf nan]]"


def test_numbers_that_the_dtype_cannot_hold_are_refused():
    refused(nn.Linear(2, 1, bias=False), {"weight": [[1e39, 0.0]]}, r"weight holds 1e\+39, which float32 cannot hold")
    norm = nn.BatchNorm1d(1)
    state = {**norm.state_dict(), "num_batches_tracked": np.array(1.5)}
    refused(norm, state, "num_batches_tracked holds 1.5, which int64 cannot hold")
    mr.load_weights(norm, {**state, "num_batches_tracked": np.array(3.0)})
    assert norm.state_dict()["num_batches_tracked"] == 3


# ── names ──


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrappers_are_understood(prefix):
    model, other = network(0), network(1)
    mr.load_weights(other, {prefix + name: a for name, a in model.state_dict().items()})
    assert same(model.state_dict(), other.state_dict())


def test_a_model_that_has_such_names_itself_keeps_them():
    class Wrapper(nn.Module):
        def __init__(self):
            super().__init__()
            self.module, self.shortcut, self.linear = (nn.Linear(1, 1, bias=False) for _ in range(3))

    model = Wrapper()
    values = {"module.weight": 1.0, "shortcut.weight": 2.0, "linear.weight": 3.0}
    mr.load_weights(model, {name: np.full((1, 1), value) for name, value in values.items()})
    assert {name: a.item() for name, a in model.state_dict().items()} == values


def theirs(name):
    """A name as in the CIFAR ResNets that people share."""
    return "module." + name.replace("fc.", "linear.").replace("downsample.", "shortcut.")


@pytest.mark.parametrize("shortcut", "ABC")
def test_names_and_order_of_shared_cifar_networks(shortcut):
    model, other = network(0, shortcut=shortcut), network(1, shortcut=shortcut)
    state = {theirs(name): a for name, a in reversed(model.state_dict().items())}
    assert mr.load_weights(other, state) == ([], [])
    assert same(model.state_dict(), other.state_dict())


def test_batches_tracked_may_be_missing_and_stay_as_they_are():
    model, other = network(0), network(1)
    with mr.no_grad():
        other(mr.randn(4, 1, 8, 8))
    state = {name: a for name, a in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert mr.load_weights(other, state) == ([], [])
    assert other.bn1.num_batches_tracked == 2
    np.testing.assert_array_equal(other.bn1.running_var, model.bn1.running_var)


def test_one_weight_under_two_names_is_refused():
    model = nn.Linear(1, 1, bias=False)
    state = {"weight": [[1.0]], "module.weight": [[2.0]]}
    refused(model, state, "has weight twice, as weight and as module.weight")


def test_names_that_nothing_explains_have_none():
    assert own_name("backbone.fc.weight", {"fc.weight": 0}) is None
    assert own_name("module.weight", {"fc.weight": 0}) is None


# ── what does not fit ──


def test_the_error_lists_everything_with_the_nearest_match():
    model = network()
    state = model.state_dict()
    state["conv_1.weight"] = state.pop("conv1.weight")
    state["fc.weight"], state["fc.bias"] = np.ones((10, 8)), np.ones(10)
    error = refused(model, state, "the dict does not fit this ResNet; nothing has changed")
    assert isinstance(error, WeightsError)
    assert error.missing == ["conv1.weight"] and error.unexpected == ["conv_1.weight"]
    assert error.shapes == {"fc.weight": ((10, 8), (3, 8)), "fc.bias": ((10,), (3,))}
    for part in (
        "missing (1): conv1.weight (nearest: conv_1.weight)",
        "unexpected (1): conv_1.weight (nearest: conv1.weight)",
        "of another shape (2): fc.weight is (10, 8) there and (3, 8) here, fc.bias is (10,) there and (3,) here",
        "num_classes",
    ):
        assert part in str(error)


def test_a_long_list_is_cut_in_the_message_and_whole_in_the_error():
    error = refused(models.resnet_cifar(20, 1), {}, r"missing \(97\): .* … and 89 more")
    assert len(error.missing) == 97 and error.missing[0] == "conv1.weight"


def test_weights_of_a_plain_twin_or_another_shortcut_do_not_fit():
    projected, padded = network(), network(shortcut="A")
    refused(padded, projected.state_dict(), r"unexpected \(12\): layer2.0.downsample.0.weight")
    refused(projected, padded.state_dict(), r"missing \(10\): layer2.0.downsample.0.weight")


def test_not_strict_loads_the_rest_but_never_another_shape():
    model, other = network(0), network(1)
    state = {name: a for name, a in model.state_dict().items() if not name.startswith("fc")} | {"head.weight": 0.0}
    kept = other.fc.weight.numpy().copy()
    assert mr.load_weights(other, state, strict=False) == (["fc.weight", "fc.bias"], ["head.weight"])
    np.testing.assert_array_equal(other.conv1.weight.numpy(), model.conv1.weight.numpy())
    np.testing.assert_array_equal(other.fc.weight.numpy(), kept)
    refused(other, {"fc.bias": np.ones(4)}, r"fc.bias is \(4,\) there and \(3,\) here", strict=False)


@pytest.mark.parametrize(
    ("source", "match", "error"),
    [
        ({"state_dict": {"weight": 0.0}}, r"'state_dict' is a dict .* source\['state_dict'\]", WeightsError),
        ({3: 0.0}, "got the name 3; expected text", WeightsError),
        ({"weight": [[1], [2, 3]]}, "weight is a list and no array", WeightsError),
        ({"weight": [["x"]]}, "weight is a list of dtype <U1; expected numbers", WeightsError),
        ({"weight": [[1j]]}, "weight is a list of dtype complex128; expected numbers", WeightsError),
        ([1.0], "got a list; expected a path or a dict", TypeError),
        (nn.Linear(1, 1), r"got a Linear; .* pass its state_dict\(\)", TypeError),
        ("weights.h5", "no file weights.h5", FileNotFoundError),
    ],
)
def test_what_is_no_weights(source, match, error):
    refused(nn.Linear(1, 1, bias=False), source, match, error)


def test_the_model_must_be_one():
    with pytest.raises(TypeError, match="load_weights: got a dict as the model"):
        mr.load_weights({}, {})
    with pytest.raises(TypeError, match="save_weights: got a dict as the model"):
        mr.save_weights({}, "w.npz")


# ── files ──


def test_files_of_another_kind(tmp_path):
    model = nn.Linear(1, 1, bias=False)
    refused(model, tmp_path, "is a folder", IsADirectoryError)
    (tmp_path / "w.h5").write_bytes(b"")
    refused(model, tmp_path / "w.h5", "got w.h5; expected a file in .safetensors or .npz")
    for name in ("w.txt", "w", "w.pth"):
        with pytest.raises(ValueError, match=r"save_weights: got '.*'; expected a name in .safetensors or .npz"):
            mr.save_weights(model, tmp_path / name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.h5"]
    model, optimizer = network(), None
    mr.train.Checkpoint.take(model, optimizer).save(tmp_path / "run.npz")
    refused(model, tmp_path / "run.npz", r'a checkpoint of a training run; .*Checkpoint.load\("run.npz"\)')


@pytest.mark.parametrize("name", ["resnet18-f37072fd.pth", "model.pt", "pytorch_model.bin", "checkpoint.tar"])
def test_a_pickle_is_not_opened_and_the_conversion_is_told(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"\x80\x02.")
    error = refused(nn.Linear(1, 1), path, "is a pickle, which can run any code")
    assert f'torch.load("{name}", map_location="cpu", weights_only=True)' in str(error)
    assert f'safetensors.torch.save_file(state, "{path.stem}.safetensors")' in str(error)


def test_a_pickle_by_another_name_is_found_out(tmp_path):
    path = tmp_path / "w.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("w/data.pkl", b"\x80\x02.")
    refused(nn.Linear(1, 1), path, "is a pickle")
    path.write_bytes(b"\x80\x02.")
    refused(nn.Linear(1, 1), path, "w.npz is damaged, cut short, or no .npz file")
    np.savez(path, weight=np.array([[None]], object))
    refused(nn.Linear(1, 1), path, "damaged")


def npy(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def test_sizes_that_the_file_does_not_hold_are_refused_before_anything_is_allocated(tmp_path):
    model, huge = nn.Linear(2, 2, bias=False), 10**15
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({huge}, 2), }}".encode()
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / "w.npz", "w", compression) as archive:
            archive.writestr("weight.npy", npy(header) + bytes(16))
        refused(model, tmp_path / "w.npz", r"a header that does not fit its \d+ bytes")
    pytest.importorskip("safetensors")
    header = f'{{"weight":{{"dtype":"F32","shape":[{huge},2],"data_offsets":[0,{8 * huge}]}}}}'.encode()
    (tmp_path / "w.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    refused(model, tmp_path / "w.safetensors", "w.safetensors is damaged, cut short, or no .safetensors file")
    (tmp_path / "w.safetensors").write_bytes(huge.to_bytes(8, "little") + b"{}")
    refused(model, tmp_path / "w.safetensors", "w.safetensors is damaged")


def test_what_unpacks_to_far_more_is_never_unpacked(tmp_path):
    path = tmp_path / "w.npz"
    np.savez_compressed(path, weight=np.zeros((20_000, 10_000), np.uint8))  # 200 MB from 200 kB
    code = (
        "import resource, sys, minires as mr\n"
        "model = mr.nn.Linear(2, 2, bias=False)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    mr.load_weights(model, sys.argv[1])\n"
        "except ValueError as error:\n    print(error)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    pytest.importorskip("resource", reason="needs POSIX")
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    *message, megabytes = done.stdout.splitlines()
    assert "weight is (20000, 10000) there and (2, 2) here" in "\n".join(message)
    assert float(megabytes) < 50


def damaged(content: bytes, chance: python_random.Random):
    """The content with one bit flipped, cut off, or with something behind it."""
    for _ in range(300):
        bit = chance.randrange(len(content) * 8)
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)
    for _ in range(50):
        yield content[: chance.randrange(len(content))]


def test_damage_is_refused_and_changes_nothing_or_is_harmless(tmp_path, ending):
    """A .safetensors file has no checksum: what is flipped among its numbers cannot be seen, names and sizes can."""
    model, target = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    path = tmp_path / f"w{ending}"
    mr.save_weights(model, path)
    content, expected, before = path.read_bytes(), model.state_dict(), target.state_dict()
    seen = {"refused": 0, "loaded": 0}
    for broken in damaged(content, python_random.Random(0)):
        path.write_bytes(broken)
        try:
            mr.load_weights(target, path)
        except WeightsError as error:
            assert path.name in str(error)
            assert same(target.state_dict(), before)
            seen["refused"] += 1
        else:
            assert ending == ".safetensors" or same(target.state_dict(), expected)
            seen["loaded"] += 1
            target.load_state_dict(before)
    assert seen["refused"] > 100, seen


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path, ending):
    path = tmp_path / f"w{ending}"
    path.write_bytes(b"old")
    with pytest.raises(OSError):
        mr.save_weights(nn.Linear(1, 1), tmp_path / "nowhere" / path.name)
    assert path.read_bytes() == b"old"


def test_without_safetensors_the_error_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    path = tmp_path / "w.safetensors"
    with pytest.raises(ImportError, match=r"save_weights: .safetensors needs the package safetensors: .*pip install"):
        mr.save_weights(nn.Linear(1, 1), path)
    assert not path.exists()
    path.write_bytes(b"")
    refused(nn.Linear(1, 1), path, "load_weights: .safetensors needs the package", ImportError)


def test_neither_pytorch_nor_safetensors_is_imported_for_an_npz(tmp_path):
    path = tmp_path / "w.npz"
    buffer = io.BytesIO()
    np.savez(buffer, weight=np.ones((1, 1)))
    path.write_bytes(buffer.getvalue())
    code = (
        "import sys, minires as mr; m = mr.nn.Linear(1, 1, bias=False); mr.load_weights(m, sys.argv[1]); "
        "mr.save_weights(m, sys.argv[1]); print([n for n in ('torch', 'safetensors') if n in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

"""CIFAR-10: the reader, where it looks, the way from a server into place, and the real images where they are."""

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from minires.data import checksums, cifar10
from minires.data.cifar10 import FILES, FOLDER, MEAN, NAMES_FILE, PUBLISHED, RECORD, STD, cache_folder

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECORDS = 20  # in each file of the small archives
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture
def root(tmp_path, files):
    """A folder that holds a small CIFAR-10."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return tmp_path


def read(root, **options):
    return cifar10(root, records=RECORDS, **options)


def test_every_byte_has_its_place(root, files):
    train, test = read(root, normalize=False)
    assert train.images.shape == (5 * RECORDS, 3, 32, 32) and test.images.shape == (RECORDS, 3, 32, 32)
    assert train.classes == test.classes == NAMES
    assert train.pixels.dtype == np.uint8 and train.images.dtype == np.float32 and train.labels.dtype == np.int64
    for dataset, index, name, record in [(train, 0, 1, 0), (train, 3 * RECORDS + 7, 4, 7), (test, 5, "test", 5)]:
        content = files["test_batch.bin" if name == "test" else f"data_batch_{name}.bin"][record * RECORD :]
        assert dataset.labels[index] == content[0]
        for channel, row, column in [(0, 0, 0), (0, 0, 31), (1, 2, 3), (2, 31, 30)]:
            byte = content[1 + channel * 1024 + row * 32 + column]
            assert dataset.pixels[index, channel, row, column] == byte
            assert dataset.images[index, channel, row, column] == np.float32(byte) / 255


def test_normalize_is_per_channel(root):
    train, test = read(root)
    for dataset in (train, test):
        mean, std = (np.array(value)[:, None, None] for value in (MEAN, STD))
        np.testing.assert_allclose(dataset.images, (dataset.pixels - mean) / std, rtol=1e-5, atol=1e-6)


def test_root_may_be_the_folder_or_its_parent(root, monkeypatch):
    expected = read(root)[0].pixels
    for given in (str(root), root / FOLDER):
        assert (read(given)[0].pixels == expected).all()
    (root / FOLDER).rename(root / "renamed")
    assert (read(root / "renamed")[0].pixels == expected).all()
    monkeypatch.setenv("HOME", str(root.parent))
    (root / "renamed").rename(root / FOLDER)
    assert (read(f"~/{root.name}")[0].pixels == expected).all()


def test_cache(root, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("MINIRES_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_folder() == Path("/home/someone/.cache/minires")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/minires")
    monkeypatch.setenv("MINIRES_CACHE", str(root))
    assert cache_folder() == root
    assert len(read(None)[0]) == 5 * RECORDS


def test_absent_says_how_to_get_it(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no folder .*MINIRES_CACHE.*--download on the command line, cifar10.*download=True"
    ):
        cifar10(tmp_path / "nothing")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(root, name):
    (root / FOLDER / name).unlink()
    for given in (root, root / FOLDER):
        with pytest.raises(FileNotFoundError, match=rf"has no {name}.*download=True"):
            read(given)


@pytest.mark.parametrize("change", [-1, 1, -RECORD, RECORD])
def test_a_wrong_size_is_an_error(root, change):
    file = root / FOLDER / "data_batch_3.bin"
    content = file.read_bytes()
    file.write_bytes(content[:change] if change < 0 else content + b"\0" * change)
    with pytest.raises(ValueError, match=r"data_batch_3\.bin has [\d,]+ bytes, wanted 61,460 .*download=True"):
        read(root)


def test_the_official_number_of_records_is_the_default(root):
    with pytest.raises(ValueError, match=r"wanted 30,730,000 \(10,000 records of 3,073\)"):
        cifar10(root)


def test_a_label_out_of_range_is_an_error(root):
    file = root / FOLDER / "test_batch.bin"
    content = bytearray(file.read_bytes())
    content[4 * RECORD] = 10
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"record 4 of .*test_batch\.bin has label 10, wanted 0\.\.9"):
        read(root)


@pytest.mark.parametrize("text", ["", "cat\ndog\n", "cat\n" * 10, "\udcff\n"])
def test_wrong_class_names_are_an_error(root, text):
    (root / FOLDER / NAMES_FILE).write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match="must name 10 classes"):
        read(root)


def fetched(server, root, **options):
    checksum = options.pop("md5", server.md5)
    return read(root, download=True, progress=False, url=server.url, md5=checksum, **options)


def test_download_puts_the_files_in_place_and_nothing_else(server, tmp_path, files):
    train, test = fetched(server, tmp_path / "new" / "root")
    assert (len(train), len(test)) == (5 * RECORDS, RECORDS)
    assert [path.name for path in (tmp_path / "new" / "root").iterdir()] == [FOLDER]
    found = {path.name: path.read_bytes() for path in (tmp_path / "new" / "root" / FOLDER).iterdir()}
    assert json.loads(found.pop("checksums.json")).keys() == files.keys()
    assert found == files | {"readme.html": b"<html></html>"}

    fetched(server, tmp_path / "new" / "root")
    assert len(server.asked) == 1  # what is there is not fetched again


def test_a_root_that_is_a_file_is_named_before_anything_is_downloaded(tmp_path):
    (tmp_path / "root").write_text("")
    with pytest.raises(OSError, match=r"cifar10: cannot write to the folder .*root \(.*\); choose another"):
        read(tmp_path / "root", download=True, progress=False, url="http://127.0.0.1:1/")


@pytest.mark.parametrize("inner", ["", FOLDER])
def test_download_into_the_cache_or_a_named_folder(server, tmp_path, monkeypatch, inner):
    monkeypatch.setenv("MINIRES_CACHE", str(tmp_path))
    fetched(server, tmp_path / FOLDER if inner else None)
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_download_that_stops_goes_on_when_run_again(server, tmp_path):
    server.cut = 10_000
    with pytest.raises(ConnectionError, match="stopped after 10,000 bytes"):
        fetched(server, tmp_path)
    assert not (tmp_path / FOLDER).exists()
    with pytest.raises(FileNotFoundError):  # the part alone is not mistaken for the data
        read(tmp_path)
    server.cut = None
    fetched(server, tmp_path)
    assert server.asked == [None, "bytes=10000-"]
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_damaged_download_leaves_nothing(server, tmp_path):
    wanted = server.md5
    server.payload = server.payload[:5000] + b"\0" + server.payload[5001:]
    with pytest.raises(ValueError, match="wanted " + wanted):
        fetched(server, tmp_path, md5=wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [
        ("../evil", b"x"),
        ("/tmp/minires-evil", b"x"),
        (f"{FOLDER}/../../evil", b"x"),
        (f"{FOLDER}/link", b"", tarfile.SYMTYPE, "/etc"),
        (f"{FOLDER}/test_batch.bin", b"", tarfile.SYMTYPE, "/etc/hostname"),
        ("unexpected.txt", b"x"),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["first", "last"])
def test_an_archive_that_reaches_out_leaves_nothing(server, tmp_path, official, pack, files, bad, place):
    members = official(files)
    server.payload = pack([bad, *members] if place == "first" else [*members, bad])
    root = tmp_path / "outer" / "root"
    with pytest.raises(ValueError, match=r"not the CIFAR-10 binary archive.*not one of its own files.*deleted"):
        fetched(server, root)
    assert [path for path in tmp_path.rglob("*") if path not in (root, root.parent)] == []
    assert not Path("/tmp/minires-evil").exists()


def test_an_archive_without_a_file_or_of_another_size_leaves_nothing(server, tmp_path, official, pack, files):
    for name in ("data_batch_2.bin", NAMES_FILE):
        server.payload = pack(official({key: value for key, value in files.items() if key != name}))
        with pytest.raises(ValueError, match=f"has no {name}"):
            fetched(server, tmp_path)
    server.payload = pack(official(files | {"test_batch.bin": b"\0" * RECORD}))
    with pytest.raises(ValueError, match="has 3,073 bytes, wanted 61,460"):
        fetched(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_never_overwritten(server, root):
    file = root / FOLDER / "test_batch.bin"
    file.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"move .* away"):
        fetched(server, root)
    assert file.read_bytes() == b"mine" and server.asked == []


# ── unpacked files that change ──


def flip(file: Path, byte: int, same_time: bool = False) -> None:
    """Change one bit; with the time of change that the file had, as a failing disk would."""
    status, content = file.stat(), bytearray(file.read_bytes())
    content[byte] ^= 1
    file.write_bytes(content)
    if same_time:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_changed_pixel_is_noticed(root):
    read(root)
    file = root / FOLDER / "data_batch_2.bin"
    flip(file, 100)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"data_batch_2\.bin is damaged.*move .* away"):
            read(root)
    flip(file, 100)
    read(root)  # it is what it was, with another time of change


def test_verify_reads_what_looks_unchanged(root):
    read(root)
    flip(root / FOLDER / "test_batch.bin", 100, same_time=True)
    read(root)
    with pytest.raises(ValueError, match=r"test_batch\.bin is damaged"):
        read(root, verify=True)


def test_checksums_are_computed_once(root, monkeypatch):
    asked = []
    md5 = checksums.md5
    monkeypatch.setattr(checksums, "md5", lambda file: asked.append(file.name) or md5(file))
    read(root)
    read(root)
    assert sorted(asked) == sorted(FILES)
    os.utime(root / FOLDER / "data_batch_1.bin")
    read(root)
    read(root)
    assert asked[len(FILES) :] == ["data_batch_1.bin"]  # and its new time is remembered
    (root / FOLDER / checksums.RECORD).write_text("{", encoding="utf-8")
    read(root)
    read(root, verify=True)
    assert len(asked) == 3 * len(FILES) + 1


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(root):
    (root / FOLDER).chmod(0o555)
    read(root)
    assert not (root / FOLDER / checksums.RECORD).exists()


def test_a_file_that_is_not_as_published_among_others_that_are(root, monkeypatch):
    published = {name: checksums.md5(root / FOLDER / name) for name in PUBLISHED}
    monkeypatch.setattr(sys.modules["minires.data.cifar10"], "PUBLISHED", published)
    flip(root / FOLDER / "data_batch_4.bin", 5000)
    with pytest.raises(ValueError, match=r"data_batch_4\.bin is damaged.*or not the published one"):
        read(root)
    for name in set(PUBLISHED) - {"data_batch_4.bin"}:  # another edition altogether
        flip(root / FOLDER / name, 5000)
    read(root)


# ── two processes, one cache ──

FETCH = """
import sys
from minires.data import cifar10
train, test = cifar10(sys.argv[1], download=True, progress=False, url=sys.argv[2], md5=sys.argv[3], records=20)
print(len(train), len(test))
"""


def pair(server, root, count: int = 2) -> list[tuple[int, str, str]]:
    """So many processes that download into one folder at the same time: their exit codes and what they printed."""
    command = [sys.executable, "-c", FETCH, str(root), server.url, server.md5]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
        for _ in range(count)
    ]
    printed = [process.communicate() for process in running]
    return [(process.returncode, *texts) for process, texts in zip(running, printed, strict=True)]


def check_pair(server, root):
    done = pair(server, root)
    assert [code for code, *_ in done] == [0, 0], done
    assert [out for _, out, _ in done] == ["100 20\n"] * 2
    assert sorted(err for *_, err in done)[0] == ""
    assert [path.name for path in root.iterdir()] == [FOLDER]
    return sum("waiting for another process that downloads to" in err for *_, err in done)


def test_two_processes_download_into_one_cache(server, tmp_path):
    server.pause = 0.05
    assert check_pair(server, tmp_path / "cache") <= 1
    assert server.asked == [None]  # one has downloaded, and the other has waited


@pytest.mark.slow
def test_many_pairs_download_into_one_cache(server, tmp_path):
    server.pause = 0.3
    assert sum(check_pair(server, tmp_path / str(k)) for k in range(8)) >= 4
    assert server.asked == [None] * 8


def test_who_waits_goes_on_where_the_other_was_killed(server, tmp_path):
    server.pause = 0.2
    command = [sys.executable, "-c", FETCH, str(tmp_path), server.url, server.md5]
    with subprocess.Popen(command) as first:
        part = tmp_path / "cifar-10-binary.tar.gz.part"
        while not (part.exists() and part.stat().st_size):
            time.sleep(0.01)
        (tmp_path / ".cifar-10-unpacking-left").mkdir()  # of one that was killed later
        first.kill()
    had = part.stat().st_size
    server.pause = 0.0
    ((code, *_),) = pair(server, tmp_path, 1)
    assert code == 0 and server.asked == [None, f"bytes={had}-"]
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Real CIFAR-10: from the user's cache, else unpacked from the data beside the repository."""
    if (cache_folder() / FOLDER).is_dir():
        return cifar10()
    script = SHARED / "unpack_cifar10.py"
    if not script.is_file() or not (SHARED / "cifar10_jpeg.npz").is_file():
        pytest.skip(f"no real CIFAR-10: neither {cache_folder() / FOLDER} nor {SHARED}")
    pytest.importorskip("PIL", reason="unpacking the JPEG copy needs Pillow")
    destination = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(script), str(destination)], check=True, stdout=subprocess.DEVNULL)
    return cifar10(destination)


@pytest.mark.slow
def test_real_images(real):
    train, test = real
    assert train.pixels.shape == (50_000, 3, 32, 32) and test.pixels.shape == (10_000, 3, 32, 32)
    assert train.classes == NAMES
    assert (np.bincount(train.labels) == 5000).all() and (np.bincount(test.labels) == 1000).all()

    # The constants are those of the training images. (The JPEG copy differs a little; 0.02 covers it.)
    count = np.stack([np.bincount(train.pixels[:, c].reshape(-1), minlength=256) for c in range(3)])
    value = np.arange(256)
    mean = (count * value).sum(1) / count.sum(1)
    std = np.sqrt((count * (value - mean[:, None]) ** 2).sum(1) / count.sum(1))
    np.testing.assert_allclose(mean, MEAN, atol=0.02 * 255)
    np.testing.assert_allclose(std, STD, atol=0.02 * 255)

    # Labels belong to their images: the nearest class mean is right far more often than one time in ten.
    images, labels = train[:10_000]
    means = np.stack([images[labels == k].mean(0).ravel() for k in range(10)])
    images, labels = test[:2000]
    distance = (means**2).sum(1) - 2 * images.reshape(2000, -1) @ means.T
    assert (distance.argmin(1) == labels).mean() > 0.22

    # Planes are planes and rows are rows: neighbours in a photograph resemble each other.
    images = images[:500]
    for axis in (2, 3):
        assert np.abs(np.diff(images, axis=axis)).mean() < 0.5 * np.abs(images - images[::-1]).mean()

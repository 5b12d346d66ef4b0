"""`fetch` against a server that misbehaves, `unpack` against archives that lie."""

import gzip
import tarfile
import threading

import pytest

from minires.data.cifar10 import FILES, FOLDER
from minires.data.download import fetch, unpack

MEMBERS = [f"{FOLDER}/{name}" for name in (*FILES, "readme.html")]


@pytest.fixture
def part(tmp_path):
    return tmp_path / "archive.part"


def test_fetch_brings_the_file(server, part, capsys):
    fetch(server.url, part, server.md5)
    assert part.read_bytes() == server.payload
    assert server.asked == [None]
    assert "100%" in capsys.readouterr().err


def test_fetch_is_silent_without_progress(server, part, capsys):
    fetch(server.url, part, server.md5.upper(), progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_cut_transfer_is_kept_and_continued(server, part):
    server.cut = 1000
    with pytest.raises(ConnectionError, match=r"stopped after 1,000 bytes .*closed before.*the same call again"):
        fetch(server.url, part, server.md5, progress=False)
    assert part.read_bytes() == server.payload[:1000]

    with pytest.raises(ConnectionError, match="stopped after 2,000 bytes"):
        fetch(server.url, part, server.md5, progress=False)

    server.cut = None
    fetch(server.url, part, server.md5, progress=False)
    assert part.read_bytes() == server.payload
    assert server.asked == [None, "bytes=1000-", "bytes=2000-"]


def test_a_server_without_ranges_starts_afresh(server, part):
    part.write_bytes(server.payload[:1000])
    server.ranges = False
    fetch(server.url, part, server.md5, progress=False)
    assert server.asked == ["bytes=1000-"]
    assert part.read_bytes() == server.payload


def test_a_whole_part_is_only_verified(server, part):
    part.write_bytes(server.payload)
    fetch(server.url, part, server.md5, progress=False)
    assert part.read_bytes() == server.payload


@pytest.mark.parametrize("already", [0, 1000])
def test_a_damaged_file_is_deleted(server, part, already):
    part.write_bytes(b"\0" * already)
    wanted = server.md5
    if not already:
        server.payload = server.payload[:5000] + bytes([server.payload[5000] ^ 1]) + server.payload[5001:]
    with pytest.raises(ValueError, match=rf"MD5 \w+, wanted {wanted}.*deleted"):
        fetch(server.url, part, wanted, progress=False)
    assert not part.exists()


def test_a_part_longer_than_the_file_is_deleted(server, part):
    part.write_bytes(server.payload + b"more")
    with pytest.raises(ValueError, match="deleted"):
        fetch(server.url, part, server.md5, progress=False)
    assert not part.exists()


def test_a_range_refused_that_nobody_asked_for(server, part):
    server.status = 416
    with pytest.raises(ConnectionError, match=r"refused .*416"):
        fetch(server.url, part, server.md5, progress=False)


def test_a_length_that_is_no_number_is_passed_over(server, part):
    server.length = "many"
    fetch(server.url, part, server.md5, progress=False)
    assert part.read_bytes() == server.payload


def test_a_refusal_keeps_the_part(server, part):
    part.write_bytes(server.payload[:1000])
    server.status = 503
    with pytest.raises(ConnectionError, match=r"refused .*503"):
        fetch(server.url, part, server.md5, progress=False)
    assert part.read_bytes() == server.payload[:1000]


def test_a_silent_server_times_out(server, part):
    server.stalled = threading.Event()
    try:
        with pytest.raises(ConnectionError, match=r"stopped after 0 bytes .*timed out"):
            fetch(server.url, part, server.md5, progress=False, timeout=0.1)
    finally:
        server.stalled.set()


def test_no_server_at_all(server, part):
    server.server_close()  # the port is free again: nobody answers
    with pytest.raises(ConnectionError, match="stopped after 0 bytes"):
        fetch(server.url, part, server.md5, progress=False, timeout=5)


@pytest.fixture
def unpacked(tmp_path, pack):
    """Unpack members below `tmp_path/inner/into`, so that an escape by one or two levels would be seen."""
    into = tmp_path / "inner" / "into"
    into.mkdir(parents=True)

    def run(members):
        file = tmp_path / "archive.tar.gz"
        file.write_bytes(pack(members))
        try:
            unpack(file, into, MEMBERS)
        finally:
            file.unlink()
        return {path.name: path.read_bytes() for path in into.iterdir()}

    return run


def test_unpack_writes_the_listed_files(unpacked, official, files):
    assert unpacked(official(files)) == files | {"readme.html": b"<html></html>"}


FIRST = f"{FOLDER}/data_batch_1.bin"


@pytest.mark.parametrize(
    "bad",
    [
        ("../evil", b"x"),
        (f"{FOLDER}/../../evil", b"x"),
        (f"../{FIRST}", b"x"),
        (f"/{FIRST}", b"x"),
        ("/tmp/evil", b"x"),
        ("evil", b"x"),
        (f"{FOLDER}/evil.bin", b"x"),
        (f"{FOLDER}\\evil", b"x"),
        ("../evil-folder", b"", tarfile.DIRTYPE, ""),
        (FIRST, b"", tarfile.SYMTYPE, "/etc/hostname"),
        (FIRST, b"", tarfile.LNKTYPE, f"{FOLDER}/readme.html"),
        (FIRST, b"", tarfile.FIFOTYPE, ""),
        (FIRST, b"", tarfile.CHRTYPE, ""),
        (FIRST, b"", tarfile.DIRTYPE, ""),
        (FOLDER, b"", tarfile.SYMTYPE, ".."),
    ],
    ids=str,
)
def test_unpack_refuses_anything_else(unpacked, tmp_path, bad):
    with pytest.raises(ValueError, match="not one of its own files"):
        unpacked([bad])
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []


def test_unpack_refuses_a_member_that_comes_twice(unpacked):
    with pytest.raises(ValueError, match="not one of its own files"):
        unpacked([(FIRST, b"one"), (FIRST, b"two")])


@pytest.mark.parametrize("damage", ["text", "cut", "header", "check sum"])
def test_unpack_says_when_the_archive_cannot_be_read(tmp_path, archive, damage):
    if damage == "text":
        content = b"<html>not found</html>"
    elif damage == "cut":
        content = archive[: len(archive) // 2]
    elif damage == "header":
        content = archive[:10] + b"\xff" * 20 + archive[30:]
    else:
        # Without its end mark a tar is read to the last byte, where gzip keeps its check sum.
        content = gzip.compress(gzip.decompress(archive)[:512])
        content = content[:-8] + b"\0" * 8
    file = tmp_path / "archive.tar.gz"
    file.write_bytes(content)
    (tmp_path / "into").mkdir()
    with pytest.raises(ValueError, match=r"not a readable tar\.gz"):
        unpack(file, tmp_path / "into", MEMBERS)

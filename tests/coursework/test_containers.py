"""What students hand in, in files as they come: a table of containers and outcomes."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from coursework.conftest import solution

from minires.coursework import ASSIGNMENTS, grade, read_submission
from minires.coursework.launcher import Keeper
from minires.coursework.leftovers import remove
from minires.coursework.submission import ENTRIES

ALL, NOTHING = 13.0, 0.0  # points of the public tests of cross_entropy
SOURCE = solution("cross_entropy")
LATIN = "# -*- coding: latin-1 -*-\n# précis\n".encode("latin-1") + SOURCE.encode("ascii", "replace")
GBK = "# coding: gbk\n# 卷积\n".encode("gbk") + SOURCE.encode("ascii", "replace")
HELPED = SOURCE.replace("import numpy as np\n", "import numpy as np\nfrom helper import nothing\n", 1)
BINARY = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(range(256))


def notebook(*cells, **metadata):
    """A notebook's text, of code cells between Markdown ones."""
    made = []
    for source in cells:
        made.append({"cell_type": "markdown", "metadata": {}, "source": ["# def softmax(x): return None"]})
        made.append({"cell_type": "code", "metadata": metadata, "source": source.splitlines(keepends=True),
                     "outputs": [{"output_type": "display_data", "data": {"image/png": "A" * 2_000_000}}],
                     "execution_count": None})  # fmt: skip
        metadata = {}
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def archive(files, compression=zipfile.ZIP_DEFLATED):
    """A zip archive's bytes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as file:
        for name, text in files.items():
            file.writestr(name, text)
    return data.getvalue()


def encrypted(data):
    """The archive with the mark of a password on its first file, in both places."""
    data = bytearray(data)
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    return bytes(data)


def lying(data, size):
    """The archive with another size in its list of contents."""
    data = bytearray(data)
    at = data.index(b"PK\1\2") + 24
    data[at : at + 4] = size.to_bytes(4, "little")
    return bytes(data)


NOTEBOOK = notebook("%matplotlib inline\n!pip install numpy\n" + SOURCE, "%%bash\necho 'def softmax('", "softmax?")
# what only notebooks understand, among lines that look like it
MAGICS = """%matplotlib inline
files = !ls \\
    -l
took = %timeit -o 1 + 1
seven = (7
    % 8)
text = '''
!kept
what?
'''
display(seven)
assert (files, took, seven, text[:6]) == (None, None, 7, "\\n!kept")
"""
EXPORTED = "get_ipython().run_line_magic('matplotlib', 'inline')\n" + SOURCE + "\n%timeit 1\n!ls\n"
ZIP = archive({"cross_entropy.py": SOURCE})

# name of the test: (files, points, word in the remark or in the message); "" for what is graded without a word
TABLE = {
    "the file in a folder": ({"cross_entropy.py": SOURCE}, ALL, ""),
    "another name": ({"hw1.py": SOURCE}, ALL, "hw1.py"),
    "beside a Mac's shadow": ({"hw1.py": SOURCE, "._hw1.py": BINARY, "__MACOSX/._hw1.py": BINARY}, ALL, "hw1.py"),
    "in a subfolder": ({"week 3/solution/cross_entropy.py": SOURCE}, ALL, "week 3/solution/cross_entropy.py"),
    "with an older one deeper": ({"cross_entropy.py": SOURCE, "old/cross_entropy.py": "1/0"}, ALL, ""),
    ".PY": ({"CROSS_ENTROPY.PY": SOURCE}, ALL, "CROSS_ENTROPY.PY"),
    "a second download": ({"cross_entropy (1).py": SOURCE}, ALL, "cross_entropy (1).py"),
    "two downloads, the same": ({"cross_entropy (1).py": SOURCE, "cross_entropy (2).py": SOURCE}, ALL, "(1).py"),
    "two downloads": ({"cross_entropy (1).py": SOURCE, "cross_entropy (2).py": SOURCE + "#"}, NOTHING, "several files"),
    ".py.txt": ({"cross_entropy.py.txt": SOURCE}, ALL, ".py.txt"),
    "a helper module beside": ({"hw1.py": HELPED, "helper.py": "nothing = 0"}, ALL, "hw1.py"),
    "a helper package below": ({"a/hw1.py": HELPED, "a/helper/__init__.py": "from .x import nothing",
                                "a/helper/x.py": "nothing = 0"}, ALL, "a/hw1.py"),
    "a helper that imports its user": ({"cross_entropy.py": HELPED, "helper.py": "import cross_entropy\nnothing = 0"},
                                       ALL, ""),
    "notes beside": ({"hw1.py": SOURCE, "notes.txt": "x", "data.csv": "1,2", "README": "?"}, ALL, "hw1.py"),
    "a zip": ({"hand-in.zip": ZIP}, ALL, "hand-in.zip/cross_entropy.py"),
    "a zip from a Mac": ({"x.zip": archive({"s/hw1.py": SOURCE, "__MACOSX/s/._hw1.py": BINARY})}, ALL, "s/hw1.py"),
    "a zip from Windows": ({"x.zip": archive({"s\\cross_entropy.py": SOURCE})}, ALL, "s/cross_entropy.py"),
    "a zip with a helper": ({"x.zip": archive({"s/hw.py": HELPED, "s/helper.py": "nothing = 0"})}, ALL, "s/hw.py"),
    "a zip that climbs": ({"x.zip": archive({"../../hw1.py": SOURCE})}, NOTHING, "no cross_entropy.py"),
    "a zip named .py": ({"cross_entropy.py": ZIP}, ALL, "cross_entropy.py"),
    "a zip with a password": ({"x.zip": encrypted(ZIP)}, NOTHING, "password"),
    "a zip that lies": ({"x.zip": lying(ZIP, 10)}, NOTHING, "no cross_entropy.py"),
    "half a zip": ({"x.zip": ZIP[: len(ZIP) // 2]}, NOTHING, "damaged zip"),
    "a zip in a zip": ({"x.zip": archive({"y.zip": ZIP})}, NOTHING, "x.zip/y.zip"),
    "a zip bomb": ({"x.zip": archive({"cross_entropy.py": b"#" * 2**25})}, NOTHING, "too large"),
    "a zip of many": ({"x.zip": archive({f"{i}.py": "" for i in range(30_000)}, 0)}, NOTHING, "too many files"),
    "a notebook": ({"cross_entropy.ipynb": NOTEBOOK}, ALL, "the code cells of cross_entropy.ipynb"),
    "a notebook with magics of all kinds": ({"x.ipynb": notebook(MAGICS, SOURCE)}, ALL, "x.ipynb"),
    "a notebook with Windows' mark": ({"x.ipynb": b"\xef\xbb\xbf" + NOTEBOOK.encode()}, ALL, "x.ipynb"),
    "a notebook in UTF-16": ({"x.ipynb": notebook(SOURCE).encode("utf-16")}, ALL, "x.ipynb"),
    "a notebook of another name": ({"Untitled3.ipynb": NOTEBOOK}, ALL, "Untitled3.ipynb"),
    "a notebook and its script": ({"cross_entropy.ipynb": NOTEBOOK, "cross_entropy.py": SOURCE}, ALL, ""),
    "a notebook named .py": ({"cross_entropy.py": NOTEBOOK}, ALL, "code cells"),
    "a notebook with nbgrader's test": ({"x.ipynb": notebook("1/0", SOURCE, nbgrader={"grade": True})}, ALL, "x.ipynb"),
    "no notebook": ({"x.ipynb": '{"cells": null}'}, NOTHING, "damaged notebook"),
    "half a notebook": ({"x.ipynb": NOTEBOOK[:-9]}, NOTHING, "damaged notebook"),
    "a notebook of brackets": ({"x.ipynb": '{"nbformat": 4, "cells": ' + "[" * 100_000}, NOTHING, "damaged notebook"),
    "a notebook without code": ({"x.ipynb": notebook()}, NOTHING, "without code"),
    "a script exported from a notebook": ({"cross_entropy.py": EXPORTED}, ALL, ""),
    "Windows' line ends and mark": ({"cross_entropy.py": b"\xef\xbb\xbf" + SOURCE.replace("\n", "\r\n").encode()},
                                    ALL, ""),
    "UTF-16": ({"cross_entropy.py": SOURCE.encode("utf-16")}, ALL, ""),
    "Latin-1, and says so": ({"cross_entropy.py": LATIN}, ALL, ""),
    "Latin-1": ({"cross_entropy.py": b"\n\n# pr\xe9cis\n" + SOURCE.encode()}, NOTHING, "(line 3)"),
    "GBK, and says so": ({"cross_entropy.py": GBK}, ALL, ""),
    "UTF-16 without a mark": ({"cross_entropy.py": SOURCE.encode("utf-16-le")}, NOTHING, "zero bytes"),
    "an unknown encoding": ({"cross_entropy.py": "# coding: klingon\n" + SOURCE}, NOTHING, "klingon"),
    "a hostile encoding": ({"cross_entropy.py": "# coding: idna\n" + SOURCE}, NOTHING, "idna"),
    "a PDF": ({"cross_entropy.py": b"%PDF-1.7\n\x00"}, NOTHING, "a PDF document"),
    "a web page": ({"cross_entropy.py": "\n<!doctype html><html>"}, NOTHING, "a web page"),
    "a Word document": ({"x.zip": archive({"[Content_Types].xml": "", "word/x.xml": ""})}, NOTHING,
                        "an Office document"),
    "a RAR archive": ({"hand-in.rar": b"Rar!\x1a"}, NOTHING, "hand-in.rar"),
    "bytes": ({"cross_entropy.py": b"\xff\xfe\x00binary"}, NOTHING, "cannot be read"),
    "two without a name": ({"a.py": "", "b.py": ""}, NOTHING, "(a.py, b.py)"),
    "nothing": ({}, NOTHING, "(nothing)"),
    "only hidden files": ({".cross_entropy.py": SOURCE, ".git/cross_entropy.py": SOURCE}, NOTHING, "(nothing)"),
    "two that could be meant": ({"a.py": SOURCE, "b.py": SOURCE + "\n"}, NOTHING,
                                "several files could be meant (a.py, b.py)"),
}  # fmt: skip


def hand_in(folder, files):
    """Write these files into a folder."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


@pytest.fixture(scope="module")
def graded():
    """Grade as cross_entropy, all with one keeper."""
    with Keeper() as keeper:
        yield lambda path, **options: grade(path, "cross_entropy", keeper=keeper, **options)


@pytest.mark.parametrize("name", TABLE)
def test_containers(name, graded, tmp_path):
    files, points, word = TABLE[name]
    folder = hand_in(tmp_path / "hand-in", files)
    result = graded(folder)
    assert result.score == points and result.points == ALL
    if points:
        assert word in result.note and bool(word) == bool(result.note)
    else:
        assert word in result.trouble and ("hand in" in result.trouble or "hand it in" in result.trouble)
        assert all(test.status == "failed" and test.message == result.trouble for test in result.tests)


@pytest.mark.parametrize("name", ["mine.py", "hand-in.zip", "cross_entropy (2).ipynb", "no ending"])
def test_a_file_is_recognised_by_what_is_in_it(graded, name, tmp_path):
    content = {"zip": ZIP, "ipynb": NOTEBOOK.encode()}.get(name.rpartition(".")[2], SOURCE.encode())
    (tmp_path / name).write_bytes(content)
    result = graded(tmp_path / name)
    assert result.score == ALL
    assert ("code cells" in result.note) == name.endswith("ipynb")


def test_a_single_file_imports_what_lies_beside_it_and_nothing_else_is_read(graded, tmp_path):
    hand_in(tmp_path / "x", {"hw1.py": HELPED, "helper.py": "nothing = 0", "cross_entropy.py": "1/0"})
    assert graded(tmp_path / "x" / "hw1.py").score == ALL
    alone = graded(tmp_path / "x" / "hw1.py", beside=False)
    assert alone.score == 0 and "No module named 'helper'" in alone.trouble


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_and_pipes_are_not_followed(graded, tmp_path):
    folder = hand_in(tmp_path / "x", {"elsewhere/solution.py": SOURCE})
    inside = hand_in(folder / "y", {})
    (inside / "cross_entropy.py").symlink_to(folder / "elsewhere" / "solution.py")
    (inside / "folder").symlink_to(folder / "elsewhere")
    result = graded(inside)
    assert result.score == 0 and "cross_entropy.py (a link" in result.trouble and "folder (a link" in result.trouble
    assert "is a link" in graded(inside / "cross_entropy.py").trouble
    os.mkfifo(tmp_path / "cross_entropy.py")
    assert "is no file" in graded(tmp_path / "cross_entropy.py").trouble
    linked = zipfile.ZipInfo("cross_entropy.py")
    linked.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(linked, "/etc/passwd")
    assert "a link" in graded(tmp_path / "x.zip").trouble


def test_a_file_of_three_gigabytes_is_not_read(graded, tmp_path):
    with open(tmp_path / "cross_entropy.py", "wb") as file:
        file.truncate(3 * 2**30)
    assert "3,072 MB" in graded(tmp_path / "cross_entropy.py").trouble


def test_folders_nested_a_thousand_deep(graded, tmp_path):
    here = os.getcwd()
    try:
        os.chdir(hand_in(tmp_path / "x", {"hw1.py": SOURCE}))
        for _ in range(1000):
            os.mkdir("a")
            os.chdir("a")
        os.chdir(here)
        result = graded(tmp_path / "x")
        assert result.score == ALL
        (tmp_path / "x" / "hw1.py").unlink()
        assert "(too deep)" in graded(tmp_path / "x").trouble
    finally:
        os.chdir(here)
        remove(str(tmp_path / "x"))  # pytest cannot, in Python 3.11


def test_many_files_are_not_all_read(tmp_path):
    folder = hand_in(tmp_path / "x", {f"{i}.csv": "" for i in range(ENTRIES + 1)})
    found = read_submission(folder, "cross_entropy", ["softmax"])
    assert "and 1992 more" in found.trouble and len(found.trouble) < 300


def test_names_for_every_exercise_are_those_it_asks_for():
    for assignment in ASSIGNMENTS.values():
        assert assignment.asked and not {"np", "rng"} & set(assignment.asked)


def test_bytes_of_any_kind_end_in_a_result(tmp_path):
    rng = np.random.default_rng(0)
    starts = [
        b"",
        b"PK\3\4",
        b"PK\5\6",
        b'{"nbformat": 4, "cells": [',
        b"# coding: ",
        b"\xff\xfe",
        ZIP,
        NOTEBOOK[:600].encode(),
    ]
    for i in range(200):
        data = bytearray(starts[i % len(starts)] + rng.bytes(int(rng.integers(0, 300))))
        for at in rng.integers(0, max(len(data), 1), 3 * (i % 2)):
            data[at % len(data)] = int(rng.integers(256))
        (tmp_path / "x.py").write_bytes(data)
        found = read_submission(tmp_path / "x.py", "cross_entropy", ["softmax"])
        assert found.trouble or found.source is not None

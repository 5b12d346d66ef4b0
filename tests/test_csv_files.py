"""Tables as CSV files: nothing that a spreadsheet would compute, and everything else as it was."""

import csv

import pytest
from hypothesis import given, strategies as st

from minires.csv_files import NUMBER, write_csv


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12))
def test_no_cell_is_a_formula_and_text_comes_back(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_csv(path, ["name"], [[text, 1.5]])
    with open(path, encoding="utf-8", newline="") as file:
        cell, number = list(csv.reader(file))[1]
    assert number == "1.5" and cell in (text, f"'{text}")
    assert NUMBER.fullmatch(cell) or not cell.lstrip().startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", " =1", "-2+3", "=cmd|' /C calc'!A0", "＝1"])
def test_what_a_spreadsheet_would_compute_gets_an_apostrophe(tmp_path, text):
    write_csv(tmp_path / "t.csv", ["a"], [[text]])
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [f"'{text}"]


@pytest.mark.parametrize("text", ["-1", "-1.5e-07", "+3", ".5", "-inf", "nan", "layer1.0", "a-b", "", "'", "λ"])
def test_numbers_and_names_stay_as_they_are(tmp_path, text):
    write_csv(tmp_path / "t.csv", ["a", "b"], [[text, -2.5]])
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file))[1] == [text, "-2.5"]

"""`report`: the certificate as text and JSON, the page, and the lines that make it again."""

import json
import shlex

import pytest

from thalweg.cli.certificate import commands
from thalweg.cli.rundir import RunDir


@pytest.fixture(scope="module")
def reported(thalweg, run):
    done = thalweg("report", run, "--json", "--steps", 10, "--most", 20)
    assert done.status == 0, done.err
    return run, done


def test_the_certificate_is_printed_kept_and_shown(reported):
    run, done = reported
    assert done.json.keys() == {"holds", "verdict", "checks", "held_out", "train", "draws"}
    assert json.loads((run / "certificate.json").read_text()) == done.json
    assert done.json["held_out"] == json.loads((run / "run.json").read_text())["split"]["held"]
    # A net of eight units that saw twenty steps is not to be trusted, and the page says so.
    assert done.json["holds"] is False
    assert "Do not trust it yet" in done.err
    page = (run / "report.html").read_text()
    assert page.count("<html") == 1
    assert "Do not trust it yet" in page


def test_without_json_the_path_is_printed(thalweg, work, tmp_path):
    done = thalweg("report", work, "--out", tmp_path / "pages" / "a.html", "--steps", 10, "--most", 20)
    assert done.out.strip() == str(tmp_path / "pages" / "a.html")
    assert (tmp_path / "pages" / "a.html").is_file()


def test_the_lines_that_make_it_again_are_right(run, thalweg, tmp_path):
    fit = shlex.split(commands(RunDir.open(run), 0.5, 0)[0])
    assert fit[:2] == ["thalweg", "fit"]
    fit[fit.index("--out") + 1] = str(tmp_path / "again")
    assert thalweg(*fit[1:], "--quiet").status == 0
    old, new = (json.loads((p / "run.json").read_text()) for p in (run, tmp_path / "again"))
    assert old["options"] == new["options"]
    assert (run / "history.json").read_text() == (tmp_path / "again" / "history.json").read_text()


def test_bad_input(bad, run, tmp_path):
    assert "--sde is -1" in bad("report", run, "--sde", "-1")
    assert "--steps is 0" in bad("report", run, "--steps", "0")
    assert "is not a run directory" in bad("report", tmp_path)

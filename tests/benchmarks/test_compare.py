"""A regression is a ratio that became worse by more than a factor and by more than its spread; the command says so."""

import copy

import pytest
from click.testing import CliRunner

from benchmarks import result_files as results
from benchmarks.report import page
from benchmarks.report.compare import changes
from ditkernels.cli.bench import command
from tests.benchmarks.test_report import FOUND, PAIR, RUN


def run_with(ratio, spread=0.1, **run):
    record = copy.deepcopy(PAIR)
    record["results"]["cpu"] |= {"ratio": ratio, "ratio_spread": spread}
    return results.merged({"runs": {}, "cases": []}, RUN | {"time": "09:00"} | run, [record])


@pytest.mark.parametrize(
    ("ratio", "spread", "worse"),
    [(12.0, 0.0, False), (20.0, 0.0, False), (9.2, 0.0, False), (9.0, 0.0, True), (9.0, 0.1, False), (6.0, 0.1, True)],
)
def test_worse_beyond_factor_and_spread(ratio, spread, worse):
    """The committed ratio is 12 with a spread of 10 %: at the factor 1.25, 12 * 0.95 / 1.25 = 9.12 must be reached."""
    [change] = changes(FOUND, run_with(ratio, spread))
    assert (change.contestant, change.before, change.after, change.worse) == ("cpu", 12.0, ratio, worse)
    assert not changes(FOUND, run_with(ratio, spread), factor=3.0)[0].worse


def test_older_results_without_a_spread_of_the_ratio():
    old = copy.deepcopy(FOUND)
    del old["cases"][0]["results"]["cpu"]["ratio_spread"]  # that of the time is 5 %
    assert changes(old, run_with(9.35, 0.0))[0].worse and not changes(old, run_with(9.37, 0.0))[0].worse


def test_numbers_of_an_earlier_run_are_not_compared():
    new = run_with(1.0)
    new["cases"][0]["results"]["cpu"]["run"] = "2026-01-01 00:00"
    with pytest.raises(ValueError, match="no case in common"):
        changes(FOUND, new)


def test_other_devices_are_refused():
    with pytest.raises(ValueError, match="different devices .*CPU X, 2 threads; CPU X, 4 threads"):
        changes(FOUND, run_with(12.0, threads=4))


def invoke(tmp_path, ratio, *options):
    results.save(tmp_path / "old.json", FOUND)
    results.save(tmp_path / "cpu-x.json", run_with(ratio))
    arguments = ["compare", str(tmp_path / "cpu-x.json"), "--with", str(tmp_path / "old.json"), *options]
    return CliRunner().invoke(command, arguments)


def test_the_command_fails_on_a_regression(tmp_path):
    good, bad = invoke(tmp_path, 11.0), invoke(tmp_path, 3.0)
    assert good.exit_code == 0 and "ok        12.00 ->    11.00  cpu: pair dense 4x100" in good.output
    assert bad.exit_code == 1 and "WORSE     12.00 ->     3.00" in bad.output
    assert "1 of 1 ratios are worse than in" in bad.output
    assert invoke(tmp_path, 3.0, "--factor", "5").exit_code == 0


def test_the_command_says_where_there_is_nothing_to_compare_with(tmp_path, monkeypatch):
    results.save(tmp_path / "cpu-unknown.json", FOUND)
    found = CliRunner().invoke(command, ["compare", str(tmp_path / "cpu-unknown.json")])
    assert found.exit_code == 1 and "there are no committed results of this device" in found.output
    monkeypatch.setattr("ditkernels.cli.bench.__file__", str(tmp_path / "a" / "b" / "bench.py"))
    monkeypatch.chdir(tmp_path)
    found = CliRunner().invoke(command, ["report"])
    assert found.exit_code == 1 and "the benchmarks are in the source tree, not in the package" in found.output


def test_report_writes_everything_and_check_writes_nothing(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    folder, readme = tmp_path / "results", tmp_path / "README.md"
    results.save(folder / "cpu-x.json", FOUND)
    parts = ("benchmarks", "quality", "molecules")
    readme.write_text("".join(f"<!-- {part}:begin -->\n<!-- {part}:end -->\n" for part in parts))
    monkeypatch.setattr(page, "README", readme)
    for function in (page.stale, page.write, page.updated):
        defaults = tuple(
            folder if x == page.RESULTS else readme if x.name == "README.md" else x for x in function.__defaults__
        )
        monkeypatch.setattr(function, "__defaults__", defaults)
    before = CliRunner().invoke(command, ["report", "--check"])
    assert before.exit_code == 1 and "stale" in before.output and not (folder / "README.md").exists()
    written = CliRunner().invoke(command, ["report"])
    assert written.exit_code == 0 and "cpu-x-speed-ups.png" in written.output
    assert "CPU X" in readme.read_text() and (folder / "README.md").exists()
    assert CliRunner().invoke(command, ["report", "--check"]).exit_code == 0

"""Generated text and plots come from the committed results, and only from them."""

import copy
import json

import pytest

from benchmarks import result_files as results
from benchmarks.contestants.contestant import LEFT_OUT
from benchmarks.report import page, plots
from benchmarks.report.quality import quality_part
from benchmarks.report.studies import studies_part
from benchmarks.report.tables import as_markdown, as_text, short, speed_up, tables
from benchmarks.report.targets import verdicts

RUN = {
    "device": "CPU X",
    "threads": 2,
    "system": "Linux",
    "python": "3.11",
    "torch": "2.13",
    "date": "2026-01-02",
    "time": "03:04",
    "ceilings": {"read_gbs": 30.0, "copy_gbs": 20.0, "matmul_gflops": {"float32": 160.0}},
}
OURS = {
    "version": "ditkernels 0.1.0",
    "ms": 4.0,
    "spread": 0.05,
    "rounds": 9,
    "how": "wall clock",
    "ratio": 12.0,
    "ratio_spread": 0.1,
    "vs_lead": 1.0,
    "error": 1e-6,
    "gbs": 10.0,
    "of_copy": 0.5,
    "of_read": 0.33,
    "gflops": 15.0,
    "of_matmul": 0.09,
    "of_floor": 0.33,
}
EAGER = OURS | {"version": "torch 2.13", "ms": 48.0, "ratio": 1.0, "vs_lead": 12.0}


def record(name, operator, **facts):
    shared = {"form": "dense", "irreps": "", "channels": 256, "layers": 1, "batch": "4x100", "molecules": 4}
    shared |= {"atoms": 400, "pairs": 40000, "direction": "forward", "dtype": "float32", "threads": None}
    shared |= {"auto": "cpu", "bytes": 42598400, "flops": 61440000, "floor_ms": 1.4}
    return {"name": name, "operator": operator, **shared, **facts}


PAIR = record(
    "pair dense 4x100 forward float32",
    "pair_attention",
    results={
        "cpu": OURS,
        "eager": EAGER,
        "compile": EAGER | {"ms": 5.0, "ratio": 9.6, "vs_lead": 1.25},
        "flex, additive bias": {"absent": LEFT_OUT},
    },
)
SO3 = record(
    "so3 basis L=2 C128 4x44 forward+backward float32",
    "so3_attention",
    form="basis",
    irreps="L = 2",
    channels=128,
    batch="4x44",
    direction="forward+backward",
    results={
        "cpu": OURS,
        "eager": EAGER,
        "e3nn eager": EAGER | {"ms": 400.0, "ratio": 0.12, "vs_lead": 100.0},
        "e3nn compile": EAGER | {"ms": 300.0, "ratio": 0.16, "vs_lead": 75.0},
        "cuequivariance": {"absent": "its kernels need a GPU"},
    },
)
MEMORY = record(
    "pair table x6 2x100 forward+backward float32",
    "pair_attention",
    form="table",
    layers=6,
    results={
        "cpu": {"version": "ditkernels 0.1.0", "peak_bytes": 1e7, "saving": 30.0},
        "eager": {"version": "torch 2.13", "peak_bytes": 3e8, "saving": 1.0},
    },
)
TRAINING = record(
    "training ape-b 1x100 step float32",
    "training",
    form="ape-b",
    batch="1x100",
    direction="step",
    results={
        "cpu": {"version": "ditkernels 0.1.0", "peak_bytes": 5e6, "saving": 2.0, "pair_bytes": 100.0}
        | {"pair_saving": 25.0},
        "eager": {"version": "torch 2.13", "peak_bytes": 1e7, "saving": 1.0, "pair_bytes": 2500.0, "pair_saving": 1.0},
    },
)
SAMPLING = record(
    "sampling pe3-b 16x44 50 steps float32",
    "sampling",
    form="pe3-b",
    batch="16x44",
    bytes=None,
    direction="50 steps",
    results={
        "cpu": OURS | {"ratio": 9.0},
        "eager": EAGER | {"vs_lead": 9.0},
        "released": {"absent": "PE(3) has no such form here"},
    },
)
FOUND = results.merged({"runs": {}, "cases": []}, RUN, [PAIR, SO3, MEMORY, TRAINING, SAMPLING])
MARKED = (
    "# A\n<!-- benchmarks:begin -->\nold\n<!-- benchmarks:end -->\nB\n<!-- quality:begin -->\n<!-- quality:end -->\n"
    "<!-- molecules:begin -->\n<!-- molecules:end -->\n"
)


def test_what_is_generated_matches_the_committed_results():
    assert page.stale() == [], "run `ditkernels bench report`"


def test_a_line_for_each_contestant_and_a_reason_for_each_who_is_absent():
    pair, so3, sampling, memory, targets = tables(FOUND)
    text = as_markdown(pair)
    assert (
        "| dense, 4×100, forward, float32 | **cpu** | 4.00 | 5.0 % | 12.0 | 10.0 | 50 % | 15.0 | 9.0 % | 33 % |" in text
    )
    assert "| dense, 4×100, forward, float32 | compile | 5.00 |" in text
    assert f"| all of these cases | flex, additive bias | not measured: {LEFT_OUT} |" in text
    assert "| all of these cases | cuequivariance | not measured: its kernels need a GPU |" in as_markdown(so3)
    assert "released | not measured: PE(3) has no such form here" in as_markdown(sampling)
    text = as_markdown(memory)
    assert "| pair_attention, table, 4×100, forward, float32 | 6 | **cpu** | 10.0 | 30.0 | – | – |" in text
    assert "| training, ape-b, 1×100, float32 | 1 | **cpu** | 5.0 | 2.00 | 100 | 25.0 |" in text
    assert "**" not in as_text(pair) and len({len(line.rstrip()) > 0 for line in as_text(targets).splitlines()}) == 1


def test_some_cases_without_a_contestant_are_counted():
    other = copy.deepcopy(PAIR) | {"name": "other", "batch": "16x44"}
    other["results"]["flex, additive bias"] = EAGER
    found = results.merged(FOUND, RUN | {"time": "05:00"}, [other])
    assert f"| dense, 4×100, forward, float32 | flex, additive bias | not measured: {LEFT_OUT} |" in as_markdown(
        tables(found)[0]
    )


def test_the_fastest_mode_of_e3nn_counts():
    assert speed_up(SO3, "e3nn") == 75.0 and speed_up(SO3, "eager") == 12.0 and speed_up(PAIR, "e3nn") is None
    assert speed_up(PAIR | {"auto": "eager"}, "compile") is None
    line = short(FOUND, [SO3["name"]])[2][0]
    assert line[0].startswith("so3_attention, basis, L=2 C=128") and line[2:6] == ["12.0", "–", "75.0", "–"]
    assert short(FOUND, ["nothing"]) is None


def test_targets_stand_beside_the_measured_values():
    lines = {text: rest for text, *rest in verdicts(FOUND)}
    assert lines["dense forward, 4x100, against eager"] == ["≥ 10×", "12.00×", "yes"]
    assert lines["dense forward, 4x100, against torch.compile"] == ["≥ 1.5×", "1.25×", "no"]
    assert lines["dense forward, 4x100, share of the read bandwidth"] == ["≥ 0.8", "0.33", "no"]
    assert lines["peak memory of 6 layers, table, 2x100, eager / ours"] == ["≥ 20×", "30.00×", "yes"]
    assert lines["peak memory per pair of a training step, ape-b, 1x100, eager / ours"] == ["≥ 20×", "25.00×", "yes"]
    assert lines["sampling pe3-b, 16x44, 50 steps, against the reference path"] == ["≥ 10×", "9.00×", "no"]
    assert lines["dense forward, 16x44, against eager"] == ["≥ 10×", "–", "not measured"]
    on_gpu = results.merged({"runs": {}, "cases": []}, RUN | {"cuda": "13.0"}, [PAIR])
    assert "its peak memory, eager / ours" in {text for text, *_ in verdicts(on_gpu)}


def test_every_target_names_a_case():
    from benchmarks.cases import every
    from benchmarks.report.targets import TARGETS

    assert {target.case for target in TARGETS} <= set(every())
    assert set(page.HEADLINES) <= set(every())


def test_a_new_run_replaces_what_it_measured(tmp_path):
    again = copy.deepcopy(SO3)
    again["results"]["e3nn compile"] = {"absent": LEFT_OUT}
    again["results"]["e3nn eager"] = {"absent": "e3nn is not installed"}
    later = RUN | {"time": "05:00"}
    found = results.merged(FOUND, later, [again], order=[SO3["name"], PAIR["name"]])
    assert [case["name"] for case in found["cases"]][:2] == [SO3["name"], PAIR["name"]]
    assert set(found["runs"]) == {"2026-01-02 03:04", "2026-01-02 05:00"}
    now = found["cases"][0]
    assert now["run"] == "2026-01-02 05:00" and now["results"]["e3nn eager"] == {"absent": "e3nn is not installed"}
    # What the new run left out keeps its numbers, with the run that they are of.
    assert now["results"]["e3nn compile"]["ms"] == 300.0
    assert now["results"]["e3nn compile"]["run"] == "2026-01-02 03:04"
    assert "e3nn compile (run of 2026-01-02 03:04)" in as_markdown(tables(found)[1])
    path = tmp_path / "cpu-x.json"
    results.save(path, found)
    assert results.load(path) == found
    gone = results.merged(found, RUN | {"time": "06:00"}, [PAIR, SO3, MEMORY, TRAINING, SAMPLING])
    assert set(gone["runs"]) == {"2026-01-02 06:00"}


def test_tables_replace_what_is_between_the_markers(tmp_path):
    results.save(tmp_path / "cpu-x.json", FOUND)
    text = page.updated(MARKED, tmp_path)
    assert "old" not in text and text.startswith("# A\n") and "\nB\n" in text
    assert "CPU X, 2 threads, Linux, Python 3.11, torch 2.13, 2026-01-02" in text
    assert "not yet been run on a GPU" in text
    assert page.updated(text, tmp_path) == text
    (tmp_path / "cpu-x.json").rename(tmp_path / "cuda-y.json")
    assert "not yet been run on a GPU" not in page.updated(MARKED, tmp_path)


def test_readme_without_markers_is_an_error():
    with pytest.raises(ValueError, match="needs the markers <!-- benchmarks:begin -->"):
        page.updated("# A\n")


def test_stale_files_are_found(tmp_path):
    pytest.importorskip("matplotlib")
    readme = tmp_path / "README.md"
    results.save(tmp_path / "cpu-x.json", FOUND)
    readme.write_text(MARKED)
    assert len(page.stale(tmp_path, readme)) == 2 + len(plots.paths(tmp_path, "cpu-x", FOUND))
    page.write(tmp_path)
    target = tmp_path / "TOP.md"
    target.write_text(page.updated(MARKED, tmp_path))
    assert page.stale(tmp_path, target) == []
    slower = copy.deepcopy(FOUND)
    slower["cases"][0]["results"]["cpu"] |= {"ms": 5.0, "gflops": 12.0}
    slower["cases"][0]["results"]["eager"]["vs_lead"] = 9.6
    results.save(tmp_path / "cpu-x.json", slower)
    names = {path.name for path in page.stale(tmp_path, target)}
    assert names == {"TOP.md", "README.md", "cpu-x-speed-ups.png", "cpu-x-roofline.png"}


def test_plots_show_what_was_measured():
    assert plots.speed_ups(FOUND) == {
        "pair dense, 4×100, forward, float32": [12.0, 1.25, None],
        "so3 basis, L=2 C=128, 4×44, forward+backward, float32": [12.0, None, 75.0],
    }
    roof = plots.roofline(FOUND)
    assert roof["ceilings"] == [[30.0, 160.0]]
    assert roof["pair dense, forward"] == [[pytest.approx(61440000 / 42598400), 15.0]]
    unknown = copy.deepcopy(FOUND)
    next(iter(unknown["runs"].values()))["ceilings"]["matmul_gflops"] = {}
    assert plots.roofline(unknown) == {}
    sizes = []
    for batch, molecules, size in (("64x18", 64, 18), ("16x44", 16, 44), ("4x100", 4, 100)):
        facts = {"batch": batch, "molecules": molecules, "atoms": molecules * size, "pairs": molecules * size**2}
        sizes.append(PAIR | facts | {"name": batch})
    line = plots.scaling(results.merged({"runs": {}, "cases": []}, RUN, sizes))["pair dense, cpu"]
    assert line == [[18, pytest.approx(4e6 / 20736)], [44, pytest.approx(4e6 / 30976)], [100, pytest.approx(100.0)]]


def test_quality_table_shows_mean_and_median(tmp_path):
    values = {"cov_r@0.5": 0.5, "cov_p@0.5": 0.25, "amr_r": 0.6, "amr_p": None, "bond_length_error": 0.01}
    values |= {"bond_angle_error": 1.5, "right_stereo": 0.9, "right_stereo_unmirrored": 0.6}
    method = {"name": "etkdg", "mean": values, "median": values, "molecules": 8, "molecules_failed": 1}
    result = {"data": "x.sdf", "source": None, "split": "test", "molecules": 8, "references": 20, "samples": "2K"}
    result |= {"seed": 42, "date": "2026-01-02", "thresholds": [0.5], "methods": [method]}
    (tmp_path / "x.json").write_text(json.dumps(result))
    text = quality_part(tmp_path)
    assert "x.sdf, test: 8 molecules, 20 reference conformers, samples: two per reference" in text
    assert "| etkdg | 50.0 / 50.0 | 25.0 / 25.0 | 0.600 / 0.600 | - / - |" in text
    assert text.endswith("| 90.0 | 60.0 | 1 of 8 |")


def test_studies_have_the_main_table_and_links_to_the_others(tmp_path):
    assert "No results are committed yet" in studies_part(tmp_path)
    row = {
        "name": "so3-e",
        "samples": 30,
        "valid": 0.9,
        "confusion": {"cyclic": {"acyclic": 1, "cyclic": 8, "failed": 1}},
    }
    null = {"name": "null: Gaussian noise", "samples": 30, "valid": 0.0}
    first = row | {"name": "dtm", "confusion": {"cyclic": {"acyclic": 4, "cyclic": 3, "failed": 2}}}
    study = {"command": "ditkernels study arms A=a", "date": "2026-01-02", "rows": [first, row, null]}
    (tmp_path / "arms.json").write_text(json.dumps(study))
    (tmp_path / "hydrogens.md").write_text("# Hydrogens by valence\n")
    text = studies_part(tmp_path)
    assert "| so3-e | 30 | 90.0 |" in text and "| null: Gaussian noise | 30 | 0.0 |" in text
    assert (
        "| cyclic | 1 | 8 | 1 |" in text
        and "| cyclic | 4 | 3 | 2 |" not in text
        and "ditkernels study arms A=a" in text
    )
    assert "[Hydrogens by valence](benchmarks/results/studies/hydrogens.md)" in text

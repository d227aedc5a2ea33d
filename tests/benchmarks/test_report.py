"""The README's tables come from the committed results, and only from them."""

import json

import pytest

from benchmarks import report
from benchmarks.measure import Times
from benchmarks.tables import as_text, tables
from benchmarks.targets import verdicts

ENVIRONMENT = {
    "device": "CPU X",
    "threads": 2,
    "system": "Linux",
    "python": "3.11",
    "torch": "2.13",
    "date": "2026-01-02",
}
ROW = {
    "form": "dense",
    "batch": 4,
    "size": 100,
    "passes": "forward",
    "fused_ms": 4.0,
    "spread": 0.05,
    "eager_ms": 48.0,
    "compile_ms": 5.0,
    "speedup_eager": 12.0,
    "speedup_compile": 1.25,
    "gigabytes_per_second": 10.0,
    "gigaflops_per_second": 15.0,
    "bandwidth_share": 0.9,
    "error": 1e-6,
    "error_eager": 2e-6,
}
SECTIONS = {"pair_attention": {"environment": ENVIRONMENT, "read_bandwidth": 11e9, "rows": [ROW]}}
MARKED = (
    "# A\n<!-- benchmarks:begin -->\nold\n<!-- benchmarks:end -->\nB\n<!-- quality:begin -->\n<!-- quality:end -->\n"
)


def test_readme_matches_the_committed_results():
    readme = report.README.read_text()
    assert report.updated(readme) == readme, "run `python -m benchmarks.report`"


def test_tables_replace_what_is_between_the_markers(tmp_path):
    (tmp_path / "cpu-x.json").write_text(json.dumps(SECTIONS))
    text = report.updated(MARKED, tmp_path)
    assert "old" not in text and text.startswith("# A\n") and "\nB\n" in text
    assert "| dense | 4 × 100 | forward | 4.00 | 48.0 | 12.0 | 1.2 |" in text
    assert "Measured on CPU X, 2 threads" in text
    assert report.updated(text, tmp_path) == text


def test_readme_without_markers_is_an_error():
    with pytest.raises(ValueError, match="needs the markers <!-- benchmarks:begin -->"):
        report.updated("# A\n")


def test_quality_table_shows_mean_and_median(tmp_path):
    values = {"cov_r@0.5": 0.5, "cov_p@0.5": 0.25, "amr_r": 0.6, "amr_p": None, "bond_length_error": 0.01}
    values |= {"bond_angle_error": 1.5, "right_stereo": 0.9, "right_stereo_unmirrored": 0.6}
    method = {"name": "etkdg", "mean": values, "median": values, "molecules": 8, "molecules_failed": 1}
    result = {"data": "x.sdf", "source": None, "split": "test", "molecules": 8, "references": 20, "samples": "2K"}
    result |= {"seed": 42, "date": "2026-01-02", "thresholds": [0.5], "methods": [method]}
    (tmp_path / "x.json").write_text(json.dumps(result))
    text = report.quality_part(tmp_path)
    assert "x.sdf, test: 8 molecules, 20 reference conformers, samples: two per reference" in text
    assert "| etkdg | 50.0 / 50.0 | 25.0 / 25.0 | 0.600 / 0.600 | - / - |" in text
    assert text.endswith("| 90.0 | 60.0 | 1 of 8 |")


def test_targets_stand_beside_the_measured_values():
    lines = {text: (least, measured, met) for text, least, measured, met in verdicts(SECTIONS)}
    assert lines["dense forward, N = 100, against eager"] == ("≥ 10×", "12.00×", "yes")
    assert lines["dense forward, N = 100, against torch.compile"] == ("≥ 1.5×", "1.25×", "no")
    assert len(lines) == 3


SO3_ROW = ROW | {
    "form": "basis",
    "irreps": "L = 2",
    "channels": 128,
    "size": 44,
    "passes": "forward+backward",
    "compile_ms": None,
    "speedup_compile": None,
    "e3nn_ms": 300.0,
    "e3nn_mode": "compile",
    "speedup_e3nn": 75.0,
    "error_e3nn": 3e-6,
    "floor_ms": 1.0,
    "floor_share": 0.25,
    "absent": {"compile": "skipped"},
}
MODES_ROW = {
    "irreps": "L = 2",
    "channels": 128,
    "size": 44,
    "passes": "forward",
    "modes": ["eager", "script", "compile"],
    "fastest": "script",
    "fused_ms": 2.0,
    "eager_ms": 50.0,
    "script_ms": 40.0,
    "speedup_eager": 25.0,
    "speedup_script": 20.0,
    "absent": {"compile": "failed: CppCompileError"},
}
SO3_SECTIONS = {
    "so3_attention": {"environment": ENVIRONMENT, "read_bandwidth": 11e9, "matrix_rate": 80e9, "rows": [SO3_ROW]},
    "so3_e3nn_modes": {"environment": ENVIRONMENT, "rows": [MODES_ROW]},
    "so3_memory": {
        "environment": ENVIRONMENT,
        "rows": [
            {
                "form": "so3_basis",
                "batch": 4,
                "size": 100,
                "layers": 6,
                "fused_bytes": 1e7,
                "eager_bytes": 3e8,
                "saving": 30.0,
            }
        ],
    },
    "sampling": {
        "environment": ENVIRONMENT,
        "rows": [
            {
                "model": "pe3-b",
                "conformers": 16,
                "atoms": 44,
                "steps": 50,
                "fused_s": 10.0,
                "reference_s": 90.0,
                "released_s": None,
                "speedup": None,
                "speedup_reference": 9.0,
            }
        ],
    },
}


def test_tables_of_so3_say_who_is_absent_and_why():
    so3, modes, memory, sampling, targets = map(as_text, tables(SO3_SECTIONS))
    assert "compile" in so3 and "75.0" in so3 and "skipped: takes too long to compile" in so3.splitlines()[0]
    assert so3.splitlines()[-1].count("skipped") == 2  # time and ratio
    assert "failed: CppCompileError" in modes and modes.endswith("script")
    assert "so3_basis" in memory and "30.0" in memory
    assert sampling.splitlines()[-1].split()[-6:] == ["10.00", "1.60", "90.0", "-", "9.0", "-"]


def test_targets_of_so3_are_read():
    lines = {text: (least, measured, met) for text, least, measured, met in verdicts(SO3_SECTIONS)}
    assert lines == {
        "so3 forward + backward, basis, L = 2, C = 128, N = 44, against e3nn": ("≥ 50×", "75.00×", "yes"),
        "peak memory of a 6-layer step, so3 basis, N = 100, eager / fused": ("≥ 20×", "30.00×", "yes"),
        "sampling PE(3)-B, 16 × 44 atoms, against the reference path": ("≥ 10×", "9.00×", "no"),
    }


def test_plot_has_a_chart_for_each_operator(tmp_path):
    pytest.importorskip("matplotlib")
    assert not report.plot(tmp_path, tmp_path / "none.png")
    (tmp_path / "cpu-x.json").write_text(json.dumps(SECTIONS | SO3_SECTIONS))
    assert report.plot(tmp_path, tmp_path / "both.png")
    (tmp_path / "cpu-x.json").write_text(json.dumps(SECTIONS))
    assert report.plot(tmp_path, tmp_path / "one.png")
    image = pytest.importorskip("matplotlib.image")
    both, one = (image.imread(tmp_path / f"{name}.png").shape for name in ("both", "one"))
    assert both[0] == 2 * one[0] and both[1] == one[1]


def test_ratio_is_taken_within_the_rounds():
    times = Times({"slow": [2.0, 20.0, 6.0], "fast": [1.0, 5.0, 2.0]})
    assert times.ratio("slow", "fast") == 3.0
    assert times.median("fast") == 2.0

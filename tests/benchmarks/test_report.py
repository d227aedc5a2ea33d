"""The README's tables come from the committed results, and only from them."""

import json

import pytest

from benchmarks import report
from benchmarks.measure import Times
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


def test_ratio_is_taken_within_the_rounds():
    times = Times({"slow": [2.0, 20.0, 6.0], "fast": [1.0, 5.0, 2.0]})
    assert times.ratio("slow", "fast") == 3.0
    assert times.median("fast") == 2.0

"""Files of a run: what is on disk after an interruption, and how a resumed run goes on."""

from __future__ import annotations

import errno
import json

import pytest

from ditkernels.models.generation.job import ConformerJob
from ditkernels.models.generation.options import GenerationOptions
from ditkernels.models.generation.pipeline import ConformerPipeline
from ditkernels.models.jobs import fingerprint, progress_path
from tests.generation.samplers import echo, records

SMILES = ["CCO", "", "CCN", "C.C", "c1ccccc1", "CCCC", "C1C", "CO", "CN", "CS", "[H][H]", "CCC"]


class Interruption(Exception):
    pass


def start(folder, *, resume=False, sampler=echo, identity="this run"):
    pipeline = ConformerPipeline(sampler, GenerationOptions(3, max_atoms_per_batch=20))
    return ConformerJob(
        pipeline, folder / "out.sdf", folder / "failed.csv", identity, model_name="test", seed=0, resume=resume
    )


def interrupted(folder, after):
    """A run that ends by an exception once `after` records are written."""
    job = start(folder)

    def report(outcome):
        if job.tally.records == after:
            raise Interruption

    with pytest.raises(Interruption):
        job.run(records(*SMILES), report)


def contents(folder):
    return (folder / "out.sdf").read_bytes(), (folder / "failed.csv").read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    tally = start(folder).run(records(*SMILES), lambda outcome: None)
    assert (tally.records, tally.written, tally.failed, tally.structures) == (12, 9, 3, 27)
    return contents(folder)


def test_finished_run_removes_its_progress_file(tmp_path):
    seen = []
    start(tmp_path).run(records(*SMILES), lambda outcome: seen.append(outcome.record.index))
    assert seen == list(range(len(SMILES)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failed.csv", "out.sdf"]


@pytest.mark.parametrize("after", [1, 2, 5, 9, 12])
def test_resumed_run_ends_with_the_same_bytes(tmp_path, unbroken, after):
    interrupted(tmp_path, after)
    sd_bytes, failed_bytes = contents(tmp_path)
    assert unbroken[0].startswith(sd_bytes)
    assert sd_bytes.count(b"$$$$\n") == 3 * sum(bool(s) and s not in ("C.C", "C1C") for s in SMILES[:after])
    job = start(tmp_path, resume=True)
    assert job.tally.records == after
    tally = job.run(records(*SMILES), lambda outcome: None)
    assert tally.records == len(SMILES)
    assert contents(tmp_path) == unbroken


def test_partial_last_record_is_cut_off(tmp_path, unbroken):
    interrupted(tmp_path, 5)
    for name in ("out.sdf", "failed.csv"):
        with open(tmp_path / name, "ab") as stream:
            stream.write(b"half a rec")
    start(tmp_path, resume=True).run(records(*SMILES), lambda outcome: None)
    assert contents(tmp_path) == unbroken


def test_resumed_run_does_not_sample_finished_windows_again(tmp_path):
    interrupted(tmp_path, 9)
    window = json.loads(progress_path(tmp_path / "out.sdf").read_text())["window"]
    assert 0 < window < 9
    first = []

    def sampler(graph, x0):
        first.append(graph.cu_seqlens[1].item())
        return x0

    start(tmp_path, resume=True, sampler=sampler).run(records(*SMILES), lambda outcome: None)
    whole = []
    start(tmp_path, sampler=lambda graph, x0: whole.append(1) or x0).run(records(*SMILES), lambda outcome: None)
    assert len(first) < len(whole)


def test_other_run_is_not_continued(tmp_path):
    interrupted(tmp_path, 3)
    with pytest.raises(ValueError, match="belongs to another input, model or other options"):
        start(tmp_path, resume=True, identity="another run")


def test_broken_progress_file_and_shortened_output(tmp_path):
    interrupted(tmp_path, 3)
    (tmp_path / "out.sdf").write_bytes(b"")
    with pytest.raises(ValueError, match="has 0 bytes, but the progress file speaks of"):
        start(tmp_path, resume=True)
    progress_path(tmp_path / "out.sdf").write_text('{"version": 1')
    with pytest.raises(ValueError, match="is broken; start again with --overwrite"):
        start(tmp_path, resume=True)


class FullDisk:
    """A file that takes `room` bytes."""

    def __init__(self, room):
        self.room = room

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = min(len(data), self.room)
        self.room -= taken
        return taken

    def close(self):
        pass


def test_full_disk_gives_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("ditkernels.models.jobs.open", lambda *a, **k: FullDisk(3000), raising=False)
    with pytest.raises(OSError, match="No space left on device; the records written so far are complete") as caught:
        start(tmp_path).run(records(*SMILES), lambda outcome: None)
    assert caught.value.filename == str(tmp_path / "out.sdf")
    progress = json.loads(progress_path(tmp_path / "out.sdf").read_text())
    assert progress["sd_bytes"] <= 3000


def test_fingerprint_sees_settings_and_contents(tmp_path):
    path = tmp_path / "in.smi"
    path.write_text("CC\n")
    first = fingerprint({"seed": 0}, [path])
    assert first == fingerprint({"seed": 0}, [path])
    assert first != fingerprint({"seed": 1}, [path])
    path.write_text("CCC\n")
    assert first != fingerprint({"seed": 0}, [path])

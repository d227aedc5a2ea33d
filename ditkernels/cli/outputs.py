"""What commands that write molecules share."""

from __future__ import annotations

import hashlib
from pathlib import Path

SOME_FAILED = 3
"""Exit code of a job that is done, with some records failed."""


def check_output(inputs: tuple[str, ...], output: Path, failures: Path | None, resume: bool, overwrite: bool) -> None:
    """Raises ValueError where writing would destroy something or cannot work."""
    from ditkernels.models.jobs import progress_path

    if resume and overwrite:
        raise ValueError("--resume and --overwrite exclude each other")
    if resume and "-" in inputs:
        raise ValueError("--resume needs input that can be read again, not standard input")
    written = [path for path in (output, failures) if path is not None]
    if len({path.resolve() for path in written}) < len(written):
        raise ValueError(f"--failures names the output file {output}")
    for path in written:
        if not path.resolve().parent.is_dir():
            raise ValueError(f"the folder of {path} does not exist")
        if path.exists() and any(Path(name).is_file() and path.samefile(name) for name in inputs):
            raise ValueError(f"{path} is an input file and would be overwritten")
    unfinished = progress_path(output).exists()
    if resume and output.exists() and not unfinished:
        raise ValueError(
            f"there is nothing to resume: {output} has no progress file beside it, so it is finished, or not ours"
        )
    if not resume and not overwrite:
        if unfinished:
            raise ValueError(
                f"{output} belongs to an interrupted run; continue it with --resume or replace it with --overwrite"
            )
        existing = next((path for path in written if path.exists()), None)
        if existing is not None:
            raise ValueError(f"{existing} exists; replace it with --overwrite")


def weights_digest(network) -> str:
    """Hash of a network's configuration and weights."""
    digest = hashlib.sha256(network.config.to_json().encode())
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

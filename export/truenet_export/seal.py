"""The last step of every export: the file's own score and checksum, by which `truenet verify` knows it."""

import os
from pathlib import Path

import onnx

from truenet.modelfile import ModelFile
from truenet.verification import SCORE_KEY, check_score_db, sealed, unset_checksum


def seal(graph: onnx.ModelProto, target: Path, largest_bytes: int | None = None) -> None:
    """Check a graph, measure it, and write it, in place of `target` only once complete.

    Args:
        graph: with its metadata; the score and the checksum are added.
        largest_bytes: of the file, if there is a bound.

    Raises:
        ValueError: the file would be larger.
    """
    onnx.checker.check_model(graph, full_check=True)
    temporary = target.with_name(target.name + ".part")
    try:
        temporary.write_bytes(graph.SerializeToString())
        score_db = check_score_db(ModelFile(temporary))
        for key, value in ((SCORE_KEY, f"{score_db:.3f}"), unset_checksum()):
            graph.metadata_props.add(key=key, value=value)
        data = sealed(graph.SerializeToString())
        if largest_bytes is not None and len(data) > largest_bytes:
            raise ValueError(f"{target} would have {len(data):,} bytes, {largest_bytes:,} allowed")
        temporary.write_bytes(data)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)

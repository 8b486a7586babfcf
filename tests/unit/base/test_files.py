"""Small files: their bytes, or an error that names the file and shows none of it."""

from pathlib import Path

import pytest

from perdure.base.errors import InvalidArgument
from perdure.base.files import FILE_BYTES_MAX, read_file


def test_a_small_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(b"#" * FILE_BYTES_MAX)
    assert len(read_file(str(tmp_path / "small"))) == FILE_BYTES_MAX


def test_a_large_one_is_refused_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (FILE_BYTES_MAX + 1))
    with pytest.raises(InvalidArgument, match=r"large: larger than 1 MiB, that is no certificate"):
        read_file(str(tmp_path / "large"), "certificate")


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"none: No such file"):
        read_file(str(tmp_path / "none"))

# SPDX-License-Identifier: Apache-2.0
"""The file that events go to: private, whole lines, rotated without loss, reopened, never through somebody's link."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest

from oisp_core.errors import ConfigError
from oisp_sensor.export.jsonl import FileExporter, StreamExporter, open_exporter


def lines(count: int, size: int = 20, first: int = 0) -> bytes:
    return b"".join(b"%0*d\n" % (size - 1, n) for n in range(first, first + count))


def everything(folder: Path) -> bytes:
    rotated = sorted(path for path in folder.glob("events.jsonl.*"))
    return b"".join(path.read_bytes() for path in [*rotated, folder / "events.jsonl"])


def test_a_new_file_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        FileExporter(tmp_path / "events.jsonl").close()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600


def test_appends_to_a_file_of_ours_and_closes_its_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"a":1}\n{"b"')
    exporter = FileExporter(path)
    exporter.write(b'{"c":3}\n')
    exporter.close()
    assert path.read_bytes() == b'{"a":1}\n{"b"\n{"c":3}\n'


def test_no_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    (tmp_path / "events.jsonl").symlink_to("target")
    with pytest.raises(ConfigError, match="symbolic link"):
        FileExporter(tmp_path / "events.jsonl")
    assert (tmp_path / "target").read_bytes() == b"precious"


def test_no_second_name_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"precious")
    os.link(tmp_path / "target", tmp_path / "events.jsonl")
    with pytest.raises(ConfigError, match="hard links"):
        FileExporter(tmp_path / "events.jsonl")


def test_nobody_elses_file(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    path = tmp_path / "events.jsonl"
    path.touch()
    os.chown(path, 12345, 12345)
    with pytest.raises(ConfigError, match="uid 12345"):
        FileExporter(path)
    FileExporter(path, owner=(12345, 12345)).close()


def test_new_files_belong_to_the_caller_of_sudo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    monkeypatch.setenv("SUDO_UID", "12345")
    monkeypatch.setenv("SUDO_GID", "12346")
    open_exporter(str(tmp_path / "events.jsonl")).close()
    info = (tmp_path / "events.jsonl").stat()
    assert (info.st_uid, info.st_gid) == (12345, 12346)


@pytest.mark.parametrize("name", ["", "missing/events.jsonl", "folder", "folder/"])
def test_what_is_no_file(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError):
        FileExporter(f"{tmp_path}/{name}")


def test_dev_null_and_pipes(tmp_path: Path) -> None:
    null = FileExporter("/dev/null")
    null.write(b"x\n")
    null.close()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="nobody reads"):
        FileExporter(tmp_path / "pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    for _ in range(1000):
        try:
            pipe = FileExporter(tmp_path / "pipe")
            break
        except ConfigError:
            threading.Event().wait(0.01)
    pipe.write(lines(5))
    pipe.close()
    reader.join()
    assert got == [lines(5)]


@pytest.mark.parametrize("batch", [1, 7, 100, 1000])
def test_rotation_loses_nothing_and_cuts_no_line(tmp_path: Path, batch: int) -> None:
    exporter = FileExporter(tmp_path / "events.jsonl", rotate_bytes=4096)
    for first in range(0, 1000, batch):
        exporter.write(lines(min(batch, 1000 - first), first=first))
    exporter.close()
    assert everything(tmp_path) == lines(1000)
    files = list(tmp_path.glob("events.jsonl*"))
    assert len(files) == 5
    for path in files:
        assert path.stat().st_size <= 4096
        assert path.read_bytes().endswith(b"\n")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert exporter.written.lines_written == 1000


def test_a_line_longer_than_the_limit_stays_whole(tmp_path: Path) -> None:
    exporter = FileExporter(tmp_path / "events.jsonl", rotate_bytes=4096)
    text = b"x" * 9000 + b"\n"
    exporter.write(lines(3) + text + lines(3, first=3))
    exporter.close()
    assert everything(tmp_path) == lines(3) + text + lines(3, first=3)
    assert len(list(tmp_path.glob("events.jsonl*"))) == 3


def test_reopen_after_the_file_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    exporter = FileExporter(path)
    exporter.write(b"1\n")
    path.rename(tmp_path / "old")
    exporter.write(b"2\n")
    exporter.reopen()
    exporter.write(b"3\n")
    exporter.close()
    assert (tmp_path / "old").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


def test_reopen_that_fails_goes_on_in_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    exporter = FileExporter(path)
    path.rename(tmp_path / "old")
    path.mkdir()
    exporter.reopen()
    exporter.write(b"1\n")
    assert exporter.written.errors == 1
    assert "cannot be reopened" in exporter.written.last_error
    exporter.close()
    assert (tmp_path / "old").read_bytes() == b"1\n"


def test_the_folder_is_the_one_that_was_opened(tmp_path: Path) -> None:
    """Somebody who may rename the folder cannot lead later files elsewhere."""
    (tmp_path / "logs").mkdir()
    exporter = FileExporter(tmp_path / "logs" / "events.jsonl", rotate_bytes=4096)
    (tmp_path / "logs").rename(tmp_path / "moved")
    (tmp_path / "victim").mkdir()
    (tmp_path / "logs").symlink_to("victim")
    exporter.write(lines(1000))
    exporter.close()
    assert everything(tmp_path / "moved") == lines(1000)
    assert list((tmp_path / "victim").iterdir()) == []


def test_a_full_disk_leaves_whole_lines_and_counts_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    exporter = FileExporter(path)
    real = os.write
    room = [50]

    def write(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(fd, bytes(data)[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(os, "write", write)
    exporter.write(lines(10))
    assert path.read_bytes() == lines(2)
    assert (exporter.written.lines_taken, exporter.written.lines_written, exporter.written.lines_dropped) == (10, 2, 8)
    assert "No space" in exporter.written.last_error
    room[0] = 1000
    exporter.write(lines(3, first=10))
    monkeypatch.undo()
    exporter.close()
    assert path.read_bytes() == lines(2) + lines(3, first=10)
    assert exporter.written.lines_written == 5


def test_a_stream_takes_whatever_comes_and_says_when_its_reader_is_gone() -> None:
    read, write = os.pipe()
    exporter = StreamExporter(write)
    exporter.write(lines(3))
    assert os.read(read, 1000) == lines(3)
    os.close(read)
    with pytest.raises(BrokenPipeError):
        exporter.write(lines(1))
    os.close(write)


def test_rotation_needs_a_sensible_size(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--rotate"):
        FileExporter(tmp_path / "events.jsonl", rotate_bytes=10)
    assert not (tmp_path / "events.jsonl").exists()

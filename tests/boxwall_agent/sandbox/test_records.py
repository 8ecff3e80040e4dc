"""Records of runs: written whole, read back, and what cannot be read is nobody's."""

from dataclasses import replace
from pathlib import Path

import pytest

from boxwall_agent.sandbox import records, sweep
from boxwall_agent.sandbox.errors import CannotSandbox
from boxwall_agent.sandbox.processes import Namespace, ProcessId, boot_id, this_process
from boxwall_agent.sandbox.records import Record

RECORD = Record(
    box_id="run-00000001",
    runner=ProcessId(7, 8),
    boot="b",
    began=1.5,
    link="bwr-00000001",
    server="localhost:1",
    agent_socket="/a.sock",
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Records are here."""
    monkeypatch.setattr(records, "RUN_DIR", tmp_path / "boxwall" / "run")
    with records.locked():
        return tmp_path / "boxwall" / "run"


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        replace(RECORD, namespace=Namespace(4026531840, 9)),
        replace(RECORD, private=()),
        replace(RECORD, private=(ProcessId(1, 2), ProcessId(3, 4))),
    ],
    ids=["bare", "with a namespace", "private", "with processes"],
)
def test_what_is_saved_is_read_back(record: Record) -> None:
    records.save(record)
    assert list(records.all_records()) == [record]
    records.forget(record.box_id)
    assert list(records.all_records()) == []
    records.forget(record.box_id)


def test_what_cannot_be_read_is_left_alone(folder: Path) -> None:
    for number, text in enumerate(("", "{", "[]", '{"box_id": "run-1"}')):
        (folder / f"run-{number}.json").write_text(text)
    records.save(RECORD)
    assert list(records.all_records()) == [RECORD]
    assert len(list(folder.glob("*.json"))) == 5


def test_the_folder_is_for_root_only(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_run_from_before_the_last_boot_is_only_forgotten() -> None:
    records.save(replace(RECORD, runner=this_process()))
    assert sweep.sweep() == []
    assert list(records.all_records()) == []


def test_a_run_that_lives_is_left_alone() -> None:
    record = replace(RECORD, runner=this_process(), boot=boot_id())
    records.save(record)
    assert sweep.sweep() == []
    assert list(records.all_records()) == [record]


def test_a_folder_that_cannot_be_made_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(records, "RUN_DIR", tmp_path / "file" / "run")
    with pytest.raises(CannotSandbox, match="cannot be written"), records.locked():
        pass

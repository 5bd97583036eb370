"""Files of the user's are never replaced or removed: the index of a folder, and what passes through it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vocalgen import VocalgenError
from vocalgen.atomic import atomic_path, atomic_write_text, published, sweep
from vocalgen.ownership import (
    INDEX,
    FolderKind,
    begin_index,
    is_own_file,
    own_folder,
    record,
    remove,
    require_replaceable,
)

RUN, REPORT, CACHE = FolderKind("a training run"), FolderKind("a report"), FolderKind("a cache", cache=True)


def folder_of(path: Path, **files: str) -> Path:
    """A folder written by vocalgen, as caches and exports are."""
    with atomic_path(path) as temporary:
        temporary.mkdir()
        for name, text in files.items():
            (temporary / name).write_text(text)
    return path


def test_atomic_path_replaces_a_folder_that_vocalgen_wrote(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "cache", a="1")
    folder_of(folder, b="2")
    assert {path.name for path in folder.iterdir()} == {"b", INDEX}


@pytest.mark.parametrize("name", ["recording.wav", ".hidden", "sub/deep.txt", "link"])
def test_atomic_path_keeps_a_folder_with_a_foreign_entry(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "cache", a="1")
    (tmp_path / "elsewhere").write_text("precious")
    (folder / name).parent.mkdir(exist_ok=True)
    if name == "link":
        (folder / name).symlink_to(tmp_path / "elsewhere")
    else:
        (folder / name).write_text("precious")
    with pytest.raises(VocalgenError, match=f"holds '{name}', which vocalgen did not write"):
        folder_of(folder, b="2")
    assert (folder / name).read_text() == "precious" and (folder / "a").read_text() == "1"
    assert not (folder / "b").exists()


def test_atomic_path_refuses_before_the_body_runs(tmp_path: Path) -> None:
    (tmp_path / "mine-24k" / "awe").mkdir(parents=True)
    (tmp_path / "mine-24k" / "awe" / "1.wav").write_text("precious")
    with pytest.raises(VocalgenError, match=r"awe/1\.wav"), atomic_path(tmp_path / "mine-24k"):
        pytest.fail("the body ran")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine-24k", "awe", "1.wav"]


def test_atomic_path_keeps_a_file_added_while_the_body_ran(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "cache", a="1")
    with pytest.raises(VocalgenError, match=r"notes\.txt"), atomic_path(folder) as temporary:
        temporary.mkdir()
        (folder / "notes.txt").write_text("precious")
    assert (folder / "notes.txt").read_text() == "precious" and (folder / "a").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"cache"}


def test_atomic_path_keeps_a_changed_file_in_a_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "export", config="1")
    (folder / "config").write_text("2")  # same length as before
    os.utime(folder / "config", ns=(1, 1))
    with pytest.raises(VocalgenError, match="config"):
        folder_of(folder, config="3")
    assert (folder / "config").read_text() == "2"


def test_a_copied_folder_stays_replaceable(tmp_path: Path) -> None:
    """Copies have other times; checksums still match."""
    folder = folder_of(tmp_path / "export", config="1")
    os.utime(folder / "config", ns=(1, 1))
    folder_of(folder, config="2")
    assert (folder / "config").read_text() == "2"


def test_a_cache_with_a_damaged_file_is_replaceable(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "cache", kind=CACHE) as temporary:
        temporary.mkdir()
        (temporary / "audio").write_text("1")
    (tmp_path / "cache" / "audio").write_text("")
    with atomic_path(tmp_path / "cache", kind=CACHE) as temporary:
        temporary.mkdir()
        (temporary / "audio").write_text("2")
    assert (tmp_path / "cache" / "audio").read_text() == "2"


def test_atomic_path_replaces_the_target_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "cache").symlink_to("disk")
    folder_of(tmp_path / "cache", a="1")
    assert (tmp_path / "cache").is_symlink() and (tmp_path / "disk" / "a").read_text() == "1"
    assert {path.name for path in tmp_path.iterdir()} == {"cache", "disk"}


def test_atomic_path_refuses_a_foreign_file_unless_told_to_overwrite(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("precious")
    with pytest.raises(VocalgenError, match=r"exists and was not written by vocalgen; .*--overwrite"):
        atomic_write_text(file, "new", overwrite=False)
    with pytest.raises(VocalgenError) as refused:
        atomic_write_text(file, "new")
    assert "--overwrite" not in str(refused.value) and file.read_text() == "precious"
    atomic_write_text(file, "new", overwrite=True)
    assert file.read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv"}, "no index in a folder of the user's"


def test_atomic_path_replaces_a_listed_file_until_it_is_changed(tmp_path: Path) -> None:
    run = own_folder(tmp_path / "run", RUN)
    atomic_write_text(run / "config.yaml", "a: 1")
    atomic_write_text(run / "config.yaml", "a: 2")
    (run / "config.yaml").write_text("a: 2  # mine")
    with pytest.raises(VocalgenError, match="was changed since vocalgen wrote it"):
        atomic_write_text(run / "config.yaml", "a: 3")
    assert (run / "config.yaml").read_text() == "a: 2  # mine"


def test_a_kill_between_listing_and_renaming_leaves_the_old_file_replaceable(tmp_path: Path) -> None:
    run = own_folder(tmp_path / "run", RUN)
    atomic_write_text(run / "a", "old")
    (tmp_path / "next").write_text("new")
    record(run / "a", tmp_path / "next")
    assert is_own_file(run / "a")


def test_a_torn_line_of_the_index_spoils_no_other(tmp_path: Path) -> None:
    run = own_folder(tmp_path / "run", RUN)
    atomic_write_text(run / "a", "1")
    with (run / INDEX).open("a") as index:
        index.write('{"file": "b", "by')
    atomic_write_text(run / "c", "1")
    assert is_own_file(run / "a") and is_own_file(run / "c")
    assert [json.loads(line)["file"] for line in (run / INDEX).read_text().splitlines()[-1:]] == ["c"]


def test_a_growing_file_stays_replaceable(tmp_path: Path) -> None:
    run = own_folder(tmp_path / "run", RUN)
    record(run / "metrics.jsonl", grows=True)
    (run / "metrics.jsonl").write_text("any")
    atomic_write_text(run / "metrics.jsonl", "cut")
    assert (run / "metrics.jsonl").read_text() == "cut"


@pytest.mark.parametrize("name", ["notes.txt", ".git", "sub"])
def test_own_folder_refuses_other_folders(tmp_path: Path, name: str) -> None:
    (tmp_path / "home" / name).mkdir(parents=True)
    with pytest.raises(VocalgenError, match=f"holds '{name}', which vocalgen did not write; choose"):
        own_folder(tmp_path / "home", RUN)
    assert [path.name for path in (tmp_path / "home").iterdir()] == [name]


def test_own_folder_takes_what_file_managers_leave(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_text("")
    (tmp_path / ".cache.vocalgen-lock").write_text("")
    assert (own_folder(tmp_path, RUN) / INDEX).is_file()


def test_remove_leaves_foreign_files(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "step-1", state="1", more="2")
    (folder / "notes.txt").write_text("precious")
    (folder / "more").write_text("changed")
    remove(folder)
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "more", INDEX}
    whole = folder_of(tmp_path / "step-2", state="1")
    remove(whole)
    assert not whole.exists()


def test_remove_does_not_follow_links(tmp_path: Path) -> None:
    elsewhere = folder_of(tmp_path / "elsewhere", a="1")
    (tmp_path / "link").symlink_to(elsewhere)
    remove(tmp_path / "link")
    assert (tmp_path / "link").is_symlink() and (elsewhere / "a").is_file()


def test_published_replaces_its_files_and_keeps_others(tmp_path: Path) -> None:
    for names in (("report.md", "mels-a.png"), ("report.md", "mels-b.png")):
        with published(tmp_path / "report", REPORT) as folder:
            for name in names:
                atomic_write_text(folder / name, str(names))
        (tmp_path / "report" / "mels-mine.png").write_text("precious")
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "report.md",
        "mels-b.png",
        "mels-mine.png",
        INDEX,
    }
    assert (tmp_path / "report" / "mels-mine.png").read_text() == "precious"


def test_published_moves_nothing_if_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "z.md").write_text("precious")

    def write(overwrite: bool) -> None:
        with published(tmp_path / "report", REPORT, overwrite) as folder:
            for name in ("a.md", "z.md"):
                (folder / name).write_text("new")

    with pytest.raises(VocalgenError, match=r"z\.md exists and was not written by vocalgen"):
        write(overwrite=False)
    assert {path.name for path in (tmp_path / "report").iterdir()} == {"z.md"}
    write(overwrite=True)
    assert (tmp_path / "report" / "z.md").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"report"}


def test_files_of_another_folder_are_not_listed(tmp_path: Path) -> None:
    """An index reaches a few levels down, and not over the index of a folder below."""
    begin_index(tmp_path, REPORT)
    inner = own_folder(tmp_path / "inner", RUN)
    atomic_write_text(inner / "a", "1")
    assert '"a"' in (inner / INDEX).read_text() and '"inner/a"' not in (tmp_path / INDEX).read_text()
    require_replaceable(inner / "a")


def test_a_folder_of_another_kind_is_kept(tmp_path: Path) -> None:
    """All files are vocalgen's, and still a report must not remove generated clips."""
    clips = own_folder(tmp_path / "clips", FolderKind("generated clips"))
    atomic_write_text(clips / "a", "1")
    with pytest.raises(VocalgenError, match="clips holds generated clips, not a report; choose"):
        own_folder(clips, REPORT)
    with (
        pytest.raises(VocalgenError, match="holds generated clips, not a report"),
        published(clips, REPORT, True) as new,
    ):
        (new / "b").write_text("2")
    for kind in (CACHE, None):
        with pytest.raises(VocalgenError, match="holds generated clips"), atomic_path(clips, kind=kind):
            pytest.fail("the body ran")
    assert {path.name for path in clips.iterdir()} == {"a", INDEX}


def test_a_folder_of_other_results_is_kept(tmp_path: Path) -> None:
    """A folder without an index whose parts all belong to vocalgen, and a run inside of a cache."""
    atomic_write_text(own_folder(tmp_path / "work" / "run", RUN) / "config.yaml", "a: 1")
    with (
        pytest.raises(VocalgenError, match="work would be replaced, but holds"),
        atomic_path(tmp_path / "work", kind=CACHE),
    ):
        pytest.fail("the body ran")
    with atomic_path(tmp_path / "cache", kind=CACHE) as temporary:
        temporary.mkdir()
        (temporary / "audio").write_text("1")
    atomic_write_text(own_folder(tmp_path / "cache" / "run", RUN) / "config.yaml", "a: 1")
    with pytest.raises(VocalgenError, match="run/"), atomic_path(tmp_path / "cache", kind=CACHE):
        pytest.fail("the body ran")
    assert (tmp_path / "work" / "run" / "config.yaml").is_file()
    assert (tmp_path / "cache" / "run" / "config.yaml").is_file()


def test_published_removes_only_what_it_published(tmp_path: Path) -> None:
    for _ in range(2):
        with published(tmp_path / "report", REPORT) as folder:
            (folder / "report.md").write_text("text")
        atomic_write_text(tmp_path / "report" / "comparison.md", "by another command")
    assert (tmp_path / "report" / "comparison.md").is_file()


def test_a_file_added_to_a_folder_that_was_written_whole_is_foreign(tmp_path: Path) -> None:
    export = folder_of(tmp_path / "export", config="1")
    atomic_write_text(export / "embeddings.npz", "asked for by the user")
    with pytest.raises(VocalgenError, match=r"embeddings\.npz"):
        folder_of(export, config="2")


def test_published_keeps_links(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "a.md").symlink_to(tmp_path / "elsewhere.md")
    with published(tmp_path / "report", REPORT) as folder:
        (folder / "a.md").write_text("text")
    assert (tmp_path / "report" / "a.md").is_symlink() and (tmp_path / "elsewhere.md").read_text() == "text"


def test_published_into_a_folder_whose_parent_is_read_only(tmp_path: Path) -> None:
    """As a mounted disk is: nothing is written beside the folder."""
    (tmp_path / "out").mkdir()
    seen: set[str] = set()
    with published(tmp_path / "out", REPORT) as folder:
        (folder / "a.md").write_text("text")
        seen = {path.name for path in tmp_path.iterdir()}
    assert seen == {"out"} and {path.name for path in (tmp_path / "out").iterdir()} == {"a.md", INDEX}


def test_published_leaves_nothing_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), published(tmp_path / "out", REPORT):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [".yarn.lock", ".notes.2024.old", ".thesis.2024.part.txt"])
def test_files_of_the_user_that_look_temporary_are_kept(tmp_path: Path, name: str) -> None:
    folder = folder_of(tmp_path / "cache", a="1")
    (folder / name).write_text("precious")
    sweep(folder)
    with pytest.raises(VocalgenError, match="which vocalgen did not write"):
        folder_of(folder, b="2")
    assert (folder / name).read_text() == "precious"


def test_atomic_path_keeps_a_single_file_that_appeared_while_the_body_ran(tmp_path: Path) -> None:
    with (
        pytest.raises(VocalgenError, match="was not written by vocalgen"),
        atomic_path(tmp_path / "a.csv") as temporary,
    ):
        temporary.write_text("new")
        (tmp_path / "a.csv").write_text("precious")
    assert (tmp_path / "a.csv").read_text() == "precious"


def test_an_index_with_a_torn_header_is_of_no_kind(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / INDEX).write_text('{"about": "Fil')
    with pytest.raises(VocalgenError, match="files of an unknown kind, not a training run"):
        own_folder(folder, RUN)
    begin_index(folder, RUN)
    assert own_folder(folder, RUN) == folder


def test_a_relative_path_belongs_to_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = own_folder(tmp_path / "run", RUN)
    atomic_write_text(run / "samples" / "a", "1")
    monkeypatch.chdir(run / "samples")
    assert is_own_file(Path("a"))
    atomic_write_text("a", "2")
    assert is_own_file(run / "samples" / "a")


def test_the_index_of_a_cache_has_no_checksums(tmp_path: Path) -> None:
    """Hashing gigabytes that nobody compares would cost time."""
    with atomic_path(tmp_path / "cache", kind=CACHE) as temporary:
        temporary.mkdir()
        (temporary / "audio").write_text("1")
    assert json.loads((tmp_path / "cache" / INDEX).read_text().splitlines()[1]) == {"file": "audio"}


def test_a_cache_may_lie_in_a_new_run_folder(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "run" / "cache", kind=CACHE) as temporary:
        temporary.mkdir()
    assert own_folder(tmp_path / "run", RUN).is_dir()

"""`vocalgen benchmark --out` on a folder that holds something already."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Command, Line
from task_corpora import manifest_of
from test_benchmark_cli import FEW, OPTIONS, report_of, tiny, trained

from vocalgen import audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.ownership import own_folder
from vocalgen.tasks.run import BENCHMARK
from vocalgen.tasks.runs import read_record

__all__ = ["tiny"]  # a fixture of all tests here

MLP = ("--system", "mlp", "--encoder", "tiny", "epochs=1", "--seeds", "1")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest_of("emogator", tmp_path_factory.mktemp("emogator"))


@pytest.fixture
def benchmark(manifest: Path, tmp_path: Path, refused: Line, capsys: Any) -> Any:
    """The benchmark of a system into `out`: its report, or why it is refused."""

    class Benchmark:
        out = tmp_path / "out"

        def report(self, *system: str) -> dict[str, Any]:
            return trained(capsys, manifest, self.out, "emogator", *(system or MLP))

        def refused(self, *system: str) -> str:
            arguments = ("benchmark", "emogator", "--data", manifest, "--out", self.out)
            return refused(*arguments, *(system or MLP), *OPTIONS, *FEW)

    return Benchmark()


def files(folder: Path) -> dict[str, bytes]:
    """All that lies in a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["report.md", "report.json", "model/model.safetensors", "notes.txt"])
def test_files_of_another_origin_stay(benchmark: Any, name: str) -> None:
    path = benchmark.out / name
    path.parent.mkdir(parents=True)
    path.write_text("precious")
    said = benchmark.refused()
    assert (
        f"holds '{name.partition('/')[0]}', which vocalgen did not write; give a new or empty folder as --out" in said
    )
    assert files(benchmark.out) == {name: b"precious"}


def test_a_changed_report_stays_and_a_lost_one_is_written_anew(benchmark: Any) -> None:
    whole = benchmark.report()
    for text in ("{", "[]", '{"made": "by another"}'):
        (benchmark.out / "report.json").write_text(text)
        assert "report.json was changed since vocalgen wrote it; move it away" in benchmark.refused()
        assert (benchmark.out / "report.json").read_text() == text
    (benchmark.out / "report.json").unlink()
    assert benchmark.report() == whole


def test_a_stopped_benchmark_goes_on(benchmark: Any, tmp_path: Path) -> None:
    own_folder(benchmark.out, BENCHMARK)
    (benchmark.out / "seeds" / "state-101-0123456789abcdef").mkdir(parents=True)
    whole = benchmark.report()
    assert not list(benchmark.out.glob("seeds/state-*"))
    for name in ("report.json", "report.md"):  # stopped before they were written
        (benchmark.out / name).unlink()
    assert benchmark.report() == whole
    shutil.rmtree(benchmark.out / "seeds" / "seed-101" / "model")
    assert benchmark.report() == whole and (benchmark.out / "seeds" / "seed-101" / "model").is_dir()


def test_other_settings_do_not_replace_what_is_finished(benchmark: Any) -> None:
    benchmark.report()
    before = files(benchmark.out)
    said = benchmark.refused(*MLP, "epochs=3", "batch_size=4")
    assert "recipe.batch_size: 8 there, 4 now; recipe.epochs: 1 there, 3 now" in said
    assert f"give another --out, or remove {benchmark.out} to start over" in said
    assert "holds the benchmark of mlp on emogator" in benchmark.refused("--system", "lr", "--encoder", "tiny")
    assert files(benchmark.out) == before
    shutil.rmtree(benchmark.out / "seeds")  # the report and the model are there
    assert "recipe.epochs: 1 there, 3 now" in benchmark.refused(*MLP, "epochs=3")
    (benchmark.out / "report.json").unlink()
    benchmark.report(*MLP, "epochs=3")  # no file tells of other settings, and the model is vocalgen's own


def test_other_data_do_not_replace_what_is_finished(tmp_path: Path, command: Command, capsys: Any) -> None:
    manifest, out = manifest_of("emogator", tmp_path), tmp_path / "out"
    trained(capsys, manifest, out, "emogator", *MLP)

    def refused() -> str:
        ran = command("benchmark", "emogator", "--data", manifest, "--out", out, *MLP, *OPTIONS)
        assert ran.code == 2
        return ran.err

    text = manifest.read_text()
    record = read_record(out / "seeds" / "seed-101" / "run.json")
    with open(manifest, newline="") as file:
        rows = list(csv.DictReader(file))
    # Another speaker, whose clips sound as before: the features are the same.
    manifest.write_text(text.replace(f",{rows[0]['speaker']},", ",somebody,"))
    assert f"the clips of {manifest}, their splits, speakers or labels have changed since" in refused()
    (out / "seeds" / "seed-101" / "run.json").write_text(
        json.dumps({key: value for key, value in record.items() if key != "settings"})
    )
    (out / "report.json").unlink()
    assert f"the settings, or the clips of {manifest}" in refused()
    (out / "seeds" / "seed-101" / "run.json").write_text(json.dumps(record))
    manifest.write_text(text)
    first, second = (clip.file for clip in Manifest.load(manifest).rows[:2])
    audio.write(first, audio.read(second)[0], 16_000, overwrite=True)
    said = refused()
    assert "encoders.1.features: " in said and record["settings"]["encoders"][0]["features"][:16] in said


def test_a_run_that_is_not_finished_is_no_part_of_a_fusion(benchmark: Any, tmp_path: Path) -> None:
    benchmark.report()
    fusion = ("--system", "late-fusion", "--run", str(benchmark.out), "--run", str(tmp_path / "b"))
    benchmark.out, one = tmp_path / "fusion", benchmark.out
    assert f"cannot read {tmp_path / 'b' / 'report.json'} (No such file or directory)" in benchmark.refused(*fusion)
    (one / "report.json").write_text("{")
    assert f"cannot read {one / 'report.json'} (Expecting" in benchmark.refused(*fusion)
    assert "mlp does not build on finished benchmarks; leave --run out" in benchmark.refused(*MLP, "--run", str(one))


def test_a_run_is_no_part_of_a_fusion_twice(benchmark: Any, tmp_path: Path) -> None:
    benchmark.report()
    first, benchmark.out = benchmark.out, tmp_path / "fusion"
    copy = shutil.copytree(first, tmp_path / "copy")
    for again in (first, copy):
        said = benchmark.refused("--system", "late-fusion", "--run", str(first), "--run", str(again))
        assert f"{again}/seeds/seed-101 is the same run as {first}/seeds/seed-101; give each --run once" in said


def test_reports_name_encoders_that_are_not_the_systems_own(benchmark: Any) -> None:
    report = benchmark.report("--system", "egemaps-mlp", "--encoder", "tiny", "epochs=1", "--seeds", "1")
    assert report["system"] == "egemaps-mlp on tiny"
    assert (benchmark.out / "report.md").read_text().startswith("# emogator: egemaps-mlp on tiny\n")
    assert json.loads((benchmark.out / "model" / "system.json").read_text())["name"] == "egemaps-mlp on tiny"
    own = ("--system", "egemaps-mlp", "epochs=1", "--seeds", "1")
    assert "holds the benchmark of egemaps-mlp on tiny on emogator" in benchmark.refused(*own)
    shutil.rmtree(benchmark.out)
    assert benchmark.report(*own)["system"] == "egemaps-mlp"


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--seeds", "0"), "--seeds is 0; give 1 to 1000"),
        (("--seeds", "1000000000000"), "--seeds is 1000000000000; give 1 to 1000"),
        (("--draws", "1"), "--draws is 1; the limits of 95 % need 40 resamples at least"),
    ],
)
def test_numbers_that_make_no_sense(benchmark: Any, manifest: Path, refused: Line, option: Any, words: str) -> None:
    arguments = ("benchmark", "emogator", "--data", manifest, "--out", benchmark.out, *MLP, *OPTIONS, *option)
    assert words in refused(*arguments)


def test_one_speaker_has_no_interval(tmp_path: Path, capsys: Any) -> None:
    manifest = manifest_of("sonata", tmp_path)
    trained(capsys, manifest, tmp_path / "out", "sonata", *MLP)
    report = report_of(tmp_path / "out")
    value, low, high = report["best"]["test"]["intervals"]["UAR"]
    assert value == report["seeds"][0]["test"]["UAR"] and low is high is None
    assert any("test has one speaker: there are no intervals" in line for line in report["warnings"])
    page = (tmp_path / "out" / "report.md").read_text()
    assert f"| UAR | test | {value:.3f} | – |" in page

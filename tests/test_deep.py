"""Networks as systems of the benchmark: trained, saved, loaded, and what they are made of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_recipes import LOOP, SMALL

from vocalgen import VocalgenError, audio
from vocalgen.corpora.manifest import Manifest
from vocalgen.tasks.as_encoder import load_scorer
from vocalgen.tasks.deep import RECIPES, make_deep, shipped_recipe
from vocalgen.tasks.registry import load_system, make_system
from vocalgen.tasks.system import Options, task_data
from vocalgen.tasks.task import TASKS


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize(
    ("system", "task"),
    [
        ("end2you", "avb-type"),
        ("end2you", "avb-culture"),
        ("ssl", "exvo-multitask"),
        ("ssl", "emotion-share"),
        ("ssl", "sonata"),
        ("mobilenet", "avb-two"),
        ("residual", "emogator"),
    ],
)
def test_systems_of_the_benchmark(
    system: str, task: str, root: Path, wavlm: Path, corpora: Any, tmp_path: Path
) -> None:
    recipe = RECIPES[system].get(task, RECIPES[system][""]).removesuffix(".yaml")
    settings = [*SMALL[recipe], *LOOP, "loop.steps=2"]
    manifest = corpora(task)
    data, _ = task_data(TASKS[task], manifest)
    options = Options((str(wavlm),) if system == "ssl" else (), overrides=tuple(settings), manifest=manifest)
    made = make_system(system, TASKS[task], options)
    assert json.loads(json.dumps(made.settings)) and str(manifest) not in json.dumps(made.settings)
    if system == "ssl":
        assert made.settings["speech"]["path"] == wavlm.name and len(made.settings["speech"]["checksum"]) == 64
    fitted = made.fit(data, 101, tmp_path)
    again = made.fit(data, 101, tmp_path)  # nothing is left to do
    rows = data.rows("test")
    found = fitted.predict(rows)
    for target in TASKS[task].targets:
        assert found[target.name].shape == (len(rows), len(target.columns))
        np.testing.assert_allclose(again.predict(rows)[target.name], found[target.name], atol=1e-6)
        if target.classes:
            np.testing.assert_allclose(found[target.name].sum(1), 1, atol=1e-5)
    fitted.save(tmp_path / "model")
    assert not any(str(wavlm.parent) in file.read_text() for file in (tmp_path / "model").glob("*.json"))
    heard = load_system(tmp_path / "model").score([audio.read(Manifest.load(manifest).usable().rows[rows[0]].file)])
    for name, values in heard.items():
        np.testing.assert_allclose(values[0], found[name][0], atol=1e-4)
    emotions = [target for target in TASKS[task].targets if target.name in ("emotion", "emotions")]
    if emotions:  # a scorer of evaluation, too
        scorer = load_scorer(str(tmp_path / "model"))
        assert scorer.emotions is not None and scorer.emotions.emotions == emotions[0].columns
        waves = [fitted.wave(int(row)) for row in rows[:3]]
        scores = scorer.score(waves)
        expected = found[emotions[0].name][:3]
        logits = np.log(expected) - (0 if emotions[0].classes else np.log1p(-expected))
        np.testing.assert_allclose(scores.logits, logits, atol=1e-3)
        assert scores.embeddings.shape == (3, made.config.heads.hidden or 512)
        network = fitted.listener.network
        seen = torch.from_numpy(scores.embeddings).float()
        if not (made.config.heads.levels or made.config.heads.within != "none"):
            raw = network.heads.readers[f"to_{emotions[0].name}"](seen).detach()
            read = raw.softmax(1) if emotions[0].classes else raw.sigmoid() if made.config.heads.squash else raw
            np.testing.assert_allclose(read.numpy(), expected, atol=1e-4)


def test_what_systems_refuse_and_are_made_of(wavlm: Path, root: Path) -> None:
    with pytest.raises(VocalgenError, match="hears clips itself; leave --encoder out"):
        make_deep("end2you", TASKS["avb-high"], Options((str(wavlm),)))
    with pytest.raises(VocalgenError, match="learns from one speech encoder"):
        make_deep("ssl", TASKS["avb-high"], Options(("a", "b")))
    started = Options(overrides=(f"init={root / 'checkpoints' / 'emogator-classifier-24k'}",), config=None)
    init = make_deep("mobilenet", TASKS["avb-high"], started).settings["init"]
    assert init["path"] == "emogator-classifier-24k" and len(init["checksums"][0]) == 64
    single = make_deep("end2you", TASKS["avb-two"], Options())
    joint = make_deep("ssl", TASKS["avb-two"], Options((str(wavlm),)))
    assert single.config.tasks == ("avb-two",) and len(joint.config.tasks) == 5
    few = make_deep("ssl", TASKS["exvo-fewshot"], Options((str(wavlm),)))
    assert few.config.tasks == joint.config.tasks  # which have its targets
    nine = make_deep("ssl", TASKS["emotion-share"], Options((str(wavlm),), config=shipped_recipe("ssl", few.task)))
    assert nine.config.tasks == ("emotion-share",)
    assert joint.config.speech is not None and joint.config.speech.path == str(wavlm)
    assert joint.name == "ssl on wavlm"  # the recipe names another
    assert make_deep("ssl", TASKS["avb-two"], Options(("copies/wavlm-large",))).name == "ssl"
    enrolled = make_system("ssl-enrolled", TASKS["exvo-fewshot"], Options((str(wavlm),)))
    assert enrolled.name == "ssl-enrolled on wavlm"


@pytest.mark.parametrize("name", ["log-mel", "eGeMAPSv02", "emogator-classifier-24k"])
def test_what_is_no_speech_encoder(name: str) -> None:
    with pytest.raises(VocalgenError, match=f"ssl learns from a speech encoder of transformers.*, which {name} is not"):
        make_deep("ssl", TASKS["avb-high"], Options((name,)))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("loop.step=3", "override loop.step=3: loop: unknown key 'step'; did you mean 'steps'?"),
        ("loop=3", "override loop=3: loop: expected a section, got 3"),
        ("data=x", "override data=x: data: expected a section, got 'x'"),
        ("tasks=3", "override tasks=3: tasks: expected a list, got 3"),
    ],
)
def test_settings_that_cannot_be(override: str, words: str) -> None:
    with pytest.raises(VocalgenError) as caught:
        make_deep("residual", TASKS["avb-high"], Options(overrides=(override,)))
    assert str(caught.value) == words


def test_an_encoder_is_told_by_its_files_wherever_they_lie(wavlm: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(wavlm, tmp_path / "wavlm")

    def checksum(folder: Path) -> str:
        found = make_deep("ssl", TASKS["avb-high"], Options((str(folder),))).settings["speech"]["checksum"]
        assert isinstance(found, str)
        return found

    before = checksum(copy)
    assert before == checksum(wavlm)
    config = copy / "preprocessor_config.json"
    config.write_text(config.read_text().replace("{", "{ ", 1))
    assert checksum(copy) != before

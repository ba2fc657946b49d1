"""The ready experiment on its real data, with the trained networks cut short, and the notebooks."""

import json
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from flows.experiment_file import load_experiment
from flows.progress import Reporter
from flows.run import run
from pipeline.answers.issued import ask
from pipeline.ensembles import open_ensemble
from pipeline.workspace import Workspace

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
SHORT = ("models.diffusion.steps=10", "models.autoregressive.steps=10", "models.diffusion.sampler_steps=2")


@pytest.fixture(scope="module")
def demo(tmp_path_factory, prefect_server):
    """The demo's workspace; only the networks' training is shorter than in ``make demo``."""
    workspace = Workspace(tmp_path_factory.mktemp("demo") / "ws")
    run(load_experiment("north-america", overrides=SHORT), workspace, reporter=Reporter())
    return workspace


def test_each_model_fills_both_scenarios(demo):
    for model in ("climatology", "persistence", "linear-inverse", "autoregressive", "diffusion"):
        data = open_ensemble(demo, model=model)["tas"]
        assert dict(data.sizes) == {
            "scenario": 2,
            "init_time": 1,
            "lead_time": 100,
            "member": 50,
            "latitude": 37,
            "longitude": 49,
        }
        values = data.isel(latitude=slice(None, None, 9), longitude=slice(None, None, 12)).values
        assert np.isfinite(values).all()
        assert values.min() > 220
        assert values.max() < 320


def test_scenarios_share_their_noise(demo):
    """The difference of two scenarios is far less noisy member by member than between members."""
    data = open_ensemble(demo, model="climatology")["tas"].isel(init_time=0, latitude=20, longitude=20).load()
    paired = data.sel(scenario="A1B") - data.sel(scenario="E1")
    assert float(paired.std("member").mean()) < 0.2 * float(data.sel(scenario="E1").std("member").mean())


def test_the_worked_question_has_its_answer(demo):
    answer = ask(demo, load_experiment("north-america").events["denver-record"]).to_json()
    shares = {part["scenario"]: part for part in answer["scenarios"]}
    assert set(shares) == {"E1", "A1B"}
    assert json.loads((demo.reports / "answers.json").read_text())["headlines"]


def test_the_report_needs_no_network(demo):
    page = (demo.reports / "index.html").read_text()
    assert "<script src" not in page
    assert 'src="http' not in page
    assert "Open Government Licence" in page
    assert "given its own warming" in page


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run_and_are_stored_without_outputs(demo, server, monkeypatch, path):
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    monkeypatch.setenv("TERCILE_WORKSPACE", str(demo.root))
    monkeypatch.setenv("PREFECT_API_URL", server["PREFECT_API_URL"])
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    text = json.dumps(notebook.cells)
    assert "members" in text

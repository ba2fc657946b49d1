"""Several workers that train one network: real processes, real collectives, real kills."""

import os
import shutil
import signal
import threading
import time

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from flows.cluster import connect
from flows.experiment import ClusterConfig
from flows.experiment_file import load_experiment
from flows.progress import Reporter
from flows.ranks import GRACE, Teams
from flows.run import run
from flows.system import System
from flows.train import Fit, train_all
from models.card import read_card
from models.distributed import Rank, here, joined
from models.training import Schedule, generator, shuffled, train
from pipeline.errors import TercileError
from pipeline.workspace import Workspace
from tests.conftest import experiment_text, monthly_record

NETWORK = {"kind": "autoregressive", "steps": 40, "batch": 8, "refit": False, "modes": 6, "noise_modes": 6}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, prefect_server):
    """A small experiment whose network two ranks trained, and its workspace."""
    folder = tmp_path_factory.mktemp("ranks")
    monthly_record().to_netcdf(folder / "record.nc")
    models = {"climatology": {"kind": "climatology"}, "persistence": {"kind": "damped_persistence"}, "network": NETWORK}
    cluster = {"kind": "processes", "workers": 2, "ranks": 2}
    (folder / "small.yaml").write_text(experiment_text(folder / "record.nc", models=models, cluster=cluster))
    experiment, workspace = load_experiment(str(folder / "small.yaml")), Workspace(folder / "ws")
    run(experiment, workspace, reporter=Reporter(), stages=("ingest", "train"))
    return experiment, workspace


@pytest.fixture(scope="module")
def two():
    """A client of two workers."""
    with connect(ClusterConfig(kind="processes", workers=2)) as client:
        yield client


def weights(workspace):
    (file,) = workspace.models.glob("network/*/*.safetensors")
    return file.read_bytes()


def test_the_road_trains_networks_by_ranks_and_the_cards_say_so(undisturbed):
    cards = {path.parent.parent.name: read_card(path.parent) for path in undisturbed[1].models.glob("*/*/card.json")}
    assert {name: card["ranks"] for name, card in cards.items()} == {"climatology": 1, "persistence": 1, "network": 2}
    assert [row["step"] for row in cards["network"]["curve"]] == [10, 20, 30, 40]


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_lost_rank_costs_time_alone(undisturbed, tmp_path, capsys, victim):
    """What is trained in the end has the same bytes, though the network began twice."""
    experiment, finished = undisturbed
    shutil.copytree(finished.root, tmp_path / "ws", ignore=shutil.ignore_patterns("models"))
    workspace, killed, done = Workspace(tmp_path / "ws"), [], []

    def kill(event):
        if event["done"] == 20 and not killed:
            worker = sorted(client.nthreads())[victim]
            killed.append(client.run(os.getpid, workers=[worker])[worker])
            os.kill(killed[0], signal.SIGKILL)

    def on_progress(event):
        done.append(event["done"])
        threading.Thread(target=kill, args=(event,)).start()

    with connect(experiment.cluster, on_progress=on_progress) as client:
        dict(train_all(client, experiment, workspace, [Fit("network")], Reporter()))
    assert killed
    assert "network: attempt 1 of 4 of its 2 ranks ended early: " in capsys.readouterr().err
    assert done.count(10) == 1
    assert weights(workspace) == weights(finished)


def test_two_ranks_take_the_steps_of_one(two):
    alone, said = regress(Rank()), []
    teams = Teams(two, 2, say=said.append)
    ((_, together),) = teams.run(["toy"], lambda _, rank, worker: two.submit(regress, rank, workers=[worker]))
    assert not said
    for expected, found in zip(alone, together, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def regress(rank):
    """A linear regression without noise of its own, whatever the ranks."""
    x = torch.randn(64, 3, generator=generator(5))
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    network = nn.Linear(3, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)

    def loss(step, noise):
        rows = here().share(shuffled(64, 16, step, seed=1))
        return (network(x[rows]) - y[rows]).square().mean()

    with joined(rank):
        train(network, loss, None, schedule=Schedule(40, 0.05, 0.01, evaluate_every=10), seed=1, identity={})
    return [parameter.detach() for parameter in network.parameters()]


def test_a_rank_that_cannot_go_on_ends_the_team_with_its_reason(two):
    start, teams = time.monotonic(), Teams(two, 2, say=print)
    with pytest.raises(TercileError, match="the second one has had enough"):
        list(teams.run(["toy"], lambda _, rank, worker: two.submit(refuse, rank, workers=[worker])))
    assert time.monotonic() - start < GRACE  # which is for ranks that do not notice


def refuse(rank):
    with joined(rank):
        if not rank.is_first:
            raise TercileError("the second one has had enough")
        regress(Rank(rank.number, rank.count))


def test_what_ranks_cannot_do_is_refused(two):
    with pytest.raises(ValidationError, match=r"`ranks: 2` needs as many processes"):
        ClusterConfig(ranks=2)
    with pytest.raises(ValidationError, match=r"`ranks: 3` needs as many processes"):
        ClusterConfig(kind="processes", workers=2, ranks=3)
    with pytest.raises(ValueError, match="a batch of 9 windows cannot be shared evenly by 2 ranks"):
        Rank(1, 2).share(torch.arange(9))
    with pytest.raises(TercileError, match="needs as many workers, and the cluster has 2"):
        list(Teams(two, 3, say=print).run(["toy"], refuse))


def test_ranks_are_part_of_what_a_network_is_and_of_nothing_else(undisturbed):
    experiment, workspace = undisturbed
    alone = experiment.model_copy(update={"cluster": ClusterConfig(kind="processes", workers=2)})
    one, two = (System(each, workspace) for each in (alone, experiment))
    assert one.fingerprint("network") != two.fingerprint("network")
    assert one.fingerprint("persistence") == two.fingerprint("persistence")

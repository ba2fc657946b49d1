import pytest
import yaml

from flows.experiment import Experiment
from flows.experiment_file import load_experiment, ready_experiments
from pipeline.errors import TercileError
from tests.conftest import experiment_text


def load(tmp_path, **changes):
    path = tmp_path / "e.yaml"
    path.write_text(experiment_text("record.nc", **changes))
    return load_experiment(str(path))


@pytest.mark.parametrize("name", sorted(ready_experiments()))
def test_each_ready_experiment_parses_and_survives_a_round_trip(name):
    experiment = load_experiment(name)
    assert experiment.name == name
    assert Experiment.model_validate_json(experiment.model_dump_json(by_alias=True)) == experiment


def test_short_forms_mean_the_long_ones(tmp_path):
    experiment = load(tmp_path)
    assert experiment.split.train[0].group == "obs"
    assert experiment.variables["sst"].transform is None
    assert experiment.described()["sst"].units == "K"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"forcast": {}}, "forcast: no such key. Did you mean 'forecast'"),
        ({"regions": {"north sea": "box(lat=44..48, lon=6..14)"}}, "regions.north sea: no question can say this name"),
        ({"regions": {"all": "box(lat=44..48, lon=6..14)"}}, "regions.all: scorecards call the whole area so"),
        ({"regions": {"alps": "bax(lat=44..48, lon=6..14)"}}, "regions.alps: Expected point"),
        ({"points": {"denver": [-105, 40]}}, r"points.denver.0: .*greater than or equal to -90"),
        ({"events": {"warm": "prob sst.mena(time=lead 1) > 1 K"}}, "events.warm: "),
        ({"events": {"warm": "prob sts.mean(over=nino34).mean(time=lead 1) > 1 K"}}, "no variable 'sts'. Did you mean"),
        ({"models": {"a": {"kind": "difusion"}}}, "difusion.*climatology"),
        (
            {"split": {"train": [1990, 1998], "validate": [1998, 1998], "test": [1999, 2001]}},
            r"train .*1990–1998.* and validate .*overlap",
        ),
        ({"split": {"train": [1997, 1990], "test": [1999, 2001]}}, "run backwards"),
        ({"variables": ["ssst"]}, "variable 'ssst' is not known. Did you mean 'sst'"),
        ({"verify": {"reference": "climatolgy"}}, "no model 'climatolgy'. Did you mean 'climatology'"),
        ({"cluster": {"kind": "address"}}, "`address` goes with"),
        ({"name": "Not a name"}, "name: .*pattern"),
        ({"reference": {"group": "ob", "years": [1990, 1997]}}, "no source 'ob'. Did you mean 'obs'"),
    ],
)
def test_each_fault_has_its_place_and_a_remedy(tmp_path, change, message):
    with pytest.raises(TercileError, match=message):
        load(tmp_path, **change)


def test_overrides_are_read_as_yaml(tmp_path):
    path = tmp_path / "e.yaml"
    path.write_text(experiment_text("record.nc"))
    experiment = load_experiment(str(path), overrides=["forecast.members=9", "forecast.init_times=latest"])
    assert (experiment.forecast.members, experiment.forecast.init_times) == (9, "latest")
    with pytest.raises(TercileError, match="write key=value"):
        load_experiment(str(path), overrides=["members"])
    with pytest.raises(TercileError, match="'name' has no keys below"):
        load_experiment(str(path), overrides=["name.first=1"])


def test_unknown_names_files_and_yaml_are_refused(tmp_path):
    with pytest.raises(TercileError, match=r"no ready experiment 'north-amerika'\. Did you mean 'north-america'"):
        load_experiment("north-amerika")
    with pytest.raises(TercileError, match="no experiment file"):
        load_experiment(str(tmp_path / "none.yaml"))
    bad = tmp_path / "bad.yaml"
    bad.write_text("a: [1, 2")
    with pytest.raises(TercileError, match="not valid YAML"):
        load_experiment(str(bad))
    bad.write_text("- 1")
    with pytest.raises(TercileError, match="mapping of keys"):
        load_experiment(str(bad))


def test_a_year_of_another_realization_is_no_overlap(tmp_path):
    spans = yaml.safe_load(
        "train: [{group: obs, years: [1990, 1999], realizations: [1]}]\n"
        "test: [{group: obs, years: [1990, 1999], realizations: [2]}]\n"
    )
    assert load(tmp_path, split=spans).split.test[0].realizations == [2]


def runs_of_a_group(tmp_path, **roles):
    whole = {"train": [[1990, 1997]], "test": [[1999, 2001]], "validate": []} | roles
    made = {
        role: [
            {"group": "obs", "years": span[:2]} | ({"realizations": span[2]} if len(span) > 2 else {}) for span in spans
        ]
        for role, spans in whole.items()
    }
    return load(tmp_path, split=made).split


@pytest.mark.parametrize("role", ["train", "test"])
def test_a_role_takes_the_same_runs_of_a_group_in_all_its_years(tmp_path, role):
    """A fit takes its runs as a whole, so that the first run's later years would be seen, and judged by."""
    other = {"train": "test", "test": "train"}[role]
    years = {role: [[1990, 1992, [1]], [1993, 1995, [2]]], other: [[1999, 2001, [3]]]}
    message = rf"{role}: 'obs' has realizations \[1\] in some years and realizations \[2\] in others"
    with pytest.raises(TercileError, match=message):
        runs_of_a_group(tmp_path, **years)


def test_a_fit_is_stopped_by_the_runs_that_it_is_of(tmp_path):
    fitted = {"train": [[1990, 1995, [1, 2]]], "test": [[1990, 2001, [3]]]}
    assert runs_of_a_group(tmp_path, **fitted, validate=[[1996, 1997, [1, 2]]]).validate_[0].realizations == [1, 2]
    with pytest.raises(TercileError, match=r"validate \(obs realizations \[4\] 1990–1995\): fits of 'obs' are of its"):
        runs_of_a_group(tmp_path, **fitted, validate=[[1990, 1995, [4]]])


def test_a_group_that_is_not_trained_on_stops_no_fit(tmp_path):
    path = tmp_path / "two.yaml"
    spans = {
        role: [{"group": group, "years": years}]
        for role, group, years in (
            ("train", "obs", [1990, 1997]),
            ("validate", "other", [1990, 1997]),
            ("test", "obs", [1998, 2001]),
        )
    }
    sources = {name: {"kind": "files", "paths": ["x.nc"]} for name in ("obs", "other")}
    reference = {"group": "obs", "years": [1990, 1997]}
    path.write_text(experiment_text("x.nc", split=spans, sources=sources, reference=reference))
    with pytest.raises(TercileError, match=r"validate \(other 1990–1997\): 'other' is not trained on"):
        load_experiment(str(path))

"""Extraction, sweeps, tasks and studies by Ray, in one cluster a test run: the bytes of one process, whatever dies."""

import os
import subprocess
import sys
import tempfile
from functools import partial

import pytest
from helpers import ROOT, class_set, files_but_for_time, random_rows
from tiny import TinyEncoder, tiny_pairs, tree
from troubled import Mortal, another, kill_amid_shards, marks

from geomclip.embeddings.record import EmbeddingSet
from geomclip.encoders.extraction.calls import extract
from geomclip.evaluations.calls import evaluate_all
from geomclip.machine.errors import GeomclipError, InputError, NotAvailableError
from geomclip.panels.measurement import measure

SIZES = {"batch_size": 4, "shard_rows": 8}


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    # short, for the names of sockets; a logical processor for each worker and some more
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as place:
        how = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        ray.init(num_cpus=4, object_store_memory=200 * 2**20, _temp_dir=place, **how)
        yield ray
        ray.shutdown()


@pytest.fixture(autouse=True)
def _one_cluster_that_stays(cluster):
    yield
    assert cluster.is_initialized()


def here(tmp_path, pairs):
    return tree(extract(TinyEncoder(), pairs, tmp_path / "here", **SIZES))


def by_ray(tmp_path, pairs, encoder=None, **options):
    how = {**SIZES, "engine": "ray", "processes": 2, **options}
    return tree(extract(encoder or TinyEncoder(), pairs, tmp_path / "there", **how))


def test_actors_write_the_bytes_of_one_process(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 40, bad=(3, 17))
    assert by_ray(tmp_path, pairs) == here(tmp_path, pairs)
    assert not [name for name in os.listdir(tmp_path / "there") if name.startswith(".")]


def test_actors_sweep_to_the_bits_of_one_process():
    rows = random_rows(1400, 16, seed=0)
    embeddings = EmbeddingSet(rows, rows + random_rows(1400, 16, seed=1), logit_scale=20.0)
    here, there = (measure(embeddings, bootstrap=20, **how) for how in ({}, {"engine": "ray", "processes": 2}))
    assert repr((there.values, there.ci, there.null)) == repr((here.values, here.ci, here.null))


def test_actors_ask_tasks_to_the_bytes_of_one_process(tmp_path):
    how = {"embeddings": class_set(), "shots": "1", "draws": 2, "bootstrap": 20, "tree": True, "spaces": "pca"}
    here, there = (evaluate_all(**how, **engine) for engine in ({}, {"engine": "ray", "processes": 2}))
    assert list(there.panels) == ["zeroshot", "fewshot", "interpolation"]
    assert there.reasons == here.reasons
    assert files_but_for_time(there, tmp_path / "there") == files_but_for_time(here, tmp_path / "here")


def test_actors_make_trials_of_a_study_after_what_they_need(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "analyses"))
    from trials import Workers, made

    needs = {"b<a": "a"}.get
    found = list(made(["b<a", "a", "mortal"], partial(marks, tmp_path), Workers("ray", 2), needs=needs))
    assert found == ["a", "mortal", "b<a"]
    assert [(tmp_path / name).read_text() for name in ("a", "b", "mortal")] == ["made "] * 3


def test_actors_that_die_at_random_moments_lose_nothing_and_do_nothing_twice(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 60, bad=(3, 17))
    (tmp_path / "deaths").mkdir()
    encoder = Mortal(tmp_path / "deaths", 3, driver=os.getpid())
    assert by_ray(tmp_path, pairs, encoder) == here(tmp_path, pairs)
    assert len(list((tmp_path / "deaths").iterdir())) in (3, 4)  # two may die at one moment


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_deaths_change_no_byte(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 480, bad=(3, 17, 300))
    expected, died = here(tmp_path, pairs), 0
    for number in range(10):
        (tmp_path / f"{number}/deaths").mkdir(parents=True)
        encoder = Mortal(tmp_path / f"{number}/deaths", 10, driver=os.getpid(), within=30)
        assert by_ray(tmp_path / str(number), pairs, encoder) == expected
        died += len(list((tmp_path / f"{number}/deaths").iterdir()))
    assert died >= 100


def test_a_shard_of_which_all_actors_die_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("geomclip.machine.engines.MOST_DEATHS", 2)
    (tmp_path / "deaths").mkdir()
    encoder = Mortal(tmp_path / "deaths", 100, driver=os.getpid(), within=4)  # none lives to the end of a shard
    reason = r"^shard 000\d: 2 workers died of it, the last by what Ray calls ActorDiedError: .* continues$"
    with pytest.raises(GeomclipError, match=reason):
        by_ray(tmp_path, tiny_pairs(tmp_path / "images", 24), encoder)


def test_a_driver_that_is_killed_and_started_again_goes_on_to_the_same_bytes(tmp_path, cluster):
    pairs, out = tiny_pairs(tmp_path / "images", 60, bad=(3, 17)), tmp_path / "there"
    expected = here(tmp_path, pairs)
    code = (
        "import sys, pathlib; from troubled import extract_by_an_engine\n"
        "extract_by_an_engine(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'ray', 0.1)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])}
    environment["RAY_ADDRESS"] = cluster.get_runtime_context().gcs_address
    driver = subprocess.Popen([sys.executable, "-c", code, tmp_path / "images", out], env=environment)
    kill_amid_shards(driver, out, seconds=120)
    assert by_ray(tmp_path, pairs) == expected


def test_an_actor_with_another_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^a worker has another encoder \(model, weights_sha256 differ\): give"):
        by_ray(tmp_path, tiny_pairs(tmp_path / "images", 16), load=another)


def test_more_processes_than_the_cluster_has_processors_for_are_refused(tmp_path):
    reason = "^the Ray cluster has 4 CPUs, processes=5 needs 5: ask for fewer, or start more nodes first$"
    with pytest.raises(InputError, match=reason):
        by_ray(tmp_path, tiny_pairs(tmp_path / "images", 40), processes=5)


def test_a_cluster_that_does_not_answer_is_one_line_at_once(tmp_path, cluster, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "is_initialized", lambda: False)
        patch.setenv("RAY_ADDRESS", "127.0.0.1:1")
        with pytest.raises(InputError, match=r"^no Ray cluster answers at 127.0.0.1:1 \(Connection refused\): see"):
            by_ray(tmp_path, tiny_pairs(tmp_path / "images", 16))


def test_ray_that_is_not_installed_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(NotAvailableError, match=r"^engine='ray' needs ray: pip install 'geomclip\[ray\]'$"):
        by_ray(tmp_path, tiny_pairs(tmp_path / "images", 16))

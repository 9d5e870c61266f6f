"""Extraction by an engine: the bytes of one process, whatever dies; here with processes of this machine."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from helpers import ROOT
from recorder import Recorder
from tiny import TinyEncoder, tiny_pairs, tree
from troubled import Dependent, Mortal, Narrow, another, kill_amid_shards

from geomclip.embeddings.store import load
from geomclip.encoders.custom import FunctionEncoder
from geomclip.encoders.extraction import elsewhere
from geomclip.encoders.extraction.calls import extract
from geomclip.encoders.extraction.elsewhere import Elsewhere, Order
from geomclip.encoders.extraction.plan import Extraction
from geomclip.encoders.extraction.writing import Task
from geomclip.machine.engines import Processes
from geomclip.machine.errors import GeomclipError, InputError

SIZES = {"batch_size": 4, "shard_rows": 8}


def pairs_of(tmp_path, n=40, bad=(3, 17)):
    return tiny_pairs(tmp_path / "images", n, bad=bad)


def here(tmp_path, pairs, encoder=None, **options):
    return tree(extract(encoder or TinyEncoder(), pairs, tmp_path / "here", **SIZES, **options))


def by_processes(tmp_path, pairs, encoder=None, **options):
    how = {**SIZES, "engine": "process", "processes": 2, **options}
    return tree(extract(encoder or TinyEncoder(), pairs, tmp_path / "there", **how))


def test_processes_write_the_bytes_of_one_and_tell_the_same(tmp_path):
    # an image that is lost moves the rows of the shards that were begun before that was known
    pairs, recorder = pairs_of(tmp_path), Recorder()
    expected = here(tmp_path, pairs)
    assert by_processes(tmp_path, pairs, progress=recorder) == expected
    assert recorder.stages[-1] == ("encoding", 40 + 2 * 35, 40 + 2 * 35, "2 skipped")
    assert recorder.lines[-1].startswith("2 images skipped, named in ")
    assert sorted(os.listdir(tmp_path / "there")) == sorted(os.listdir(tmp_path / "here"))
    assert not [name for name in os.listdir(tmp_path / "there") if name.startswith(".")]


@pytest.mark.slow
def test_so_they_do_of_classes_and_of_raw_rows(tmp_path):
    prompts = {f"kind{i}": (f"a kind{i}", f"many kind{i}") for i in range(3)}
    pairs = pairs_of(tmp_path)
    classes = replace(pairs, classes=tuple(prompts), class_prompts=tuple(prompts.values()))
    assert by_processes(tmp_path, classes, raw=True) == here(tmp_path, classes, raw=True)


@pytest.mark.slow
def test_so_they_do_with_an_encoder_of_the_callers_own(tmp_path):
    pairs = pairs_of(tmp_path)
    encoder = FunctionEncoder({"image": mean_colours, "text": counted}, model="own", name="v1")
    assert by_processes(tmp_path, pairs, encoder) == here(tmp_path, pairs, encoder)


def mean_colours(pictures):
    return [[float(value) + 1 for value in picture.resize((1, 1)).getpixel((0, 0))] for picture in pictures]


def counted(texts):
    return [[1.0, float(len(text)), float(text.count("e"))] for text in texts]


def test_an_unfinished_store_is_gone_on_with_by_whichever_engine(tmp_path, monkeypatch):
    pairs = pairs_of(tmp_path, 24)
    expected = here(tmp_path, pairs)
    out = extract(TinyEncoder(), pairs, tmp_path / "there", **SIZES)
    # of three shards the second is lost and the last is damaged
    manifest = json.loads((out / "manifest.json").read_text())
    os.remove(out / "img_emb/img_emb_0001.npy")
    (out / "text_emb/text_emb_0002.npy").write_bytes(b"damaged")
    given = []
    monkeypatch.setattr(Processes, "give", watched(Processes.give, given))
    assert by_processes(tmp_path, pairs) == expected
    assert sorted(order.task.number for order in given) == [1, 2]
    assert manifest["done"]
    given.clear()
    assert by_processes(tmp_path, pairs) == expected  # finished: no process is begun
    assert given == []


def watched(give, given):
    def watching(self, worker, item):
        given.append(item)
        give(self, worker, item)

    return watching


def test_processes_that_die_at_random_moments_lose_nothing_and_do_nothing_twice(tmp_path, monkeypatch):
    pairs, given = pairs_of(tmp_path, 60), []
    monkeypatch.setattr(Processes, "give", watched(Processes.give, given))
    (tmp_path / "deaths").mkdir()
    encoder = Mortal(tmp_path / "deaths", 4, driver=os.getpid())
    expected = here(tmp_path, pairs)
    assert by_processes(tmp_path, pairs, encoder) == expected
    assert len(list((tmp_path / "deaths").iterdir())) in (4, 5)  # two may die at one moment
    assert {order.batch for order in given} == {4}  # of what they died is not known


def test_a_shard_of_which_all_processes_die_is_one_line_and_what_is_finished_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("geomclip.machine.engines.MOST_DEATHS", 2)
    pairs = pairs_of(tmp_path, 24)
    (tmp_path / "deaths").mkdir()
    encoder = Mortal(tmp_path / "deaths", 100, driver=os.getpid(), within=4)  # none lives to the end of a shard
    expected = here(tmp_path, pairs)
    with pytest.raises(GeomclipError, match=r"^shard 000\d: 2 workers died of it, the last by signal 9: .* continues$"):
        by_processes(tmp_path, pairs, encoder)
    assert not [name for name in os.listdir(tmp_path / "there") if name.endswith("geomclip-tmp")]
    assert by_processes(tmp_path, pairs) == expected


def test_a_driver_that_is_killed_and_started_again_goes_on_to_the_same_bytes(tmp_path):
    out = tmp_path / "there"
    expected = here(tmp_path, tiny_pairs(tmp_path / "images", 60, bad=(3, 17)))
    code = (
        "import sys, pathlib; from troubled import extract_by_an_engine\n"
        "if __name__ == '__main__':\n"
        "    extract_by_an_engine(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), 'process', 0.05)\n"
    )
    (tmp_path / "script.py").write_text(code)
    command = [sys.executable, tmp_path / "script.py", tmp_path / "images", out]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/support")])}
    driver = subprocess.Popen(command, env=environment)
    kill_amid_shards(driver, out, seconds=100)
    pairs = tiny_pairs(tmp_path / "images", 60, bad=(3, 17))
    assert by_processes(tmp_path, pairs) == expected


def test_a_death_takes_threads_and_no_part_of_the_batch(tmp_path):
    run = Extraction(TinyEncoder(), pairs_of(tmp_path, 24, bad=()), **SIZES)
    run.into(tmp_path / "there")
    work = Elsewhere(run, "process", processes=2, workers=4, load=None)
    order = next(work._orders([2], tmp_path, {}))
    fewer = work._lighter(tmp_path / "there", order, False)
    assert (fewer.workers, fewer.batch, fewer.proof) == (2, 4, None)
    alone = replace(order, workers=1)
    assert work._lighter(tmp_path / "there", alone, False) is None
    assert work._lighter(tmp_path / "there", alone, True).batch == 2


def test_what_takes_too_much_memory_is_made_with_fewer_threads(tmp_path, monkeypatch):
    pairs, given = pairs_of(tmp_path, 16, bad=()), []
    monkeypatch.setattr(Processes, "give", watched(Processes.give, given))
    encoder = Narrow(5, driver=os.getpid())
    assert by_processes(tmp_path, pairs, encoder, workers=4) == here(tmp_path, pairs, encoder)
    assert {order.workers for order in given} == {4, 2, 1}
    assert {order.batch for order in given} == {4}


def test_and_with_half_the_batch_where_that_changes_no_row(tmp_path, monkeypatch):
    pairs, given = pairs_of(tmp_path, 32, bad=()), []
    monkeypatch.setattr(Processes, "give", watched(Processes.give, given))
    encoder = Narrow(3, driver=os.getpid(), calls_before=2)  # there is room for one shard
    assert by_processes(tmp_path, pairs, encoder, workers=1, processes=1) == here(
        tmp_path, pairs, Narrow(9, driver=os.getpid())
    )
    assert [order.batch for order in given if order.task.number > 1][:2] == [4, 2]


def test_but_not_where_rows_would_be_others(tmp_path):
    pairs = pairs_of(tmp_path, 32, bad=())
    encoder = Dependent(3, driver=os.getpid(), calls_before=2)
    wanted = r"^shard 0001: memory ran out, and rows of a smaller batch differ in their last digits: a new folder and "
    with pytest.raises(GeomclipError, match=wanted + "a smaller batch_size than 2, or fewer processes$"):
        by_processes(tmp_path, pairs, encoder, workers=1, processes=1)
    manifest = json.loads((tmp_path / "there/manifest.json").read_text())
    assert [record["number"] for record in manifest["shards"]] == [0]


def test_nor_where_nothing_was_made_to_compare_with(tmp_path):
    encoder = Narrow(3, driver=os.getpid())
    with pytest.raises(GeomclipError, match=r"^shard 0000: memory ran out \(DefaultCPUAllocator.*smaller batch_size"):
        by_processes(tmp_path, pairs_of(tmp_path, 16, bad=()), encoder, workers=1)


def test_a_worker_with_another_model_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^a worker has another encoder \(model, weights_sha256 differ\): give"):
        by_processes(tmp_path, pairs_of(tmp_path, 16, bad=()), load=another)
    assert json.loads((tmp_path / "there/manifest.json").read_text())["shards"] == []


def test_an_encoder_that_cannot_be_sent_is_one_line(tmp_path):
    encoder = TinyEncoder(spoil=lambda rows: rows)
    with pytest.raises(InputError, match=r"^this encoder \(a function that makes it can: load\) cannot be sent to an"):
        by_processes(tmp_path, pairs_of(tmp_path, 16, bad=()), encoder)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"engine": "proces"}, r"engine 'proces' is not known; did you mean process\?"),
        ({"engine": None}, "processes is of an engine: name one by engine='process'"),
        ({"processes": 0}, "processes must be at least 1, got 0"),
    ],
)
def test_options_that_mean_nothing_are_refused(tmp_path, options, reason):
    with pytest.raises(InputError, match=f"^{reason}$"):
        by_processes(tmp_path, pairs_of(tmp_path, 16), **options)


def test_more_are_lost_than_a_tenth_is_refused_as_by_one_process(tmp_path):
    with pytest.raises(InputError, match=r"^tiny-set: 3 of 16 images cannot be used, more than a tenth; first: 001"):
        by_processes(tmp_path, pairs_of(tmp_path, 16, bad=(1, 2, 3)))


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    order = Order(Task(0, "0000", 0, ()), 0, tmp_path / "absent", 4, 1)
    with pytest.raises(InputError, match=r"is not on this machine: every worker must see the store's folder$"):
        elsewhere._deliver(None, None, order)


@pytest.mark.slow
def test_the_command_makes_the_store_of_the_demo_model_in_processes(tmp_path):
    for name, more in (("one", []), ("two", ["--engine", "process", "--processes", "2"])):
        arguments = ["--limit", "24", "--shard-rows", "8", "--out", str(tmp_path / name), "--quiet", *more]
        command = [sys.executable, "-m", "geomclip", "extract", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert len(load(tmp_path / "two").image) == 24

"""Extraction in processes of their own that are killed, filled up or doubled; what is left is judged here."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time

import pytest
from tiny import TinyEncoder, extract_in_a_process, tiny_pairs, tree

from geomclip.embeddings.store import load
from geomclip.encoders.extraction.calls import extract
from geomclip.machine.errors import GeomclipError, InputError

# children of a server that has torch already: a process of its own each, without the seconds of importing it
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["geomclip.encoders.extraction.calls", "PIL.Image"])


def start(images, out, *, seconds=0.05):
    process = PROCESSES.Process(target=extract_in_a_process, args=(images, out, seconds, out.with_name("message")))
    process.start()
    return process


def finished_shards(out):
    try:
        return len(json.loads((out / "manifest.json").read_text())["shards"])
    except FileNotFoundError:
        return -1


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.exitcode is None
        assert time.monotonic() < end
        time.sleep(0.005)


def undisturbed(tmp_path):
    pairs = tiny_pairs(tmp_path / "images", 60, bad=(3, 17))
    return tree(extract(TinyEncoder(), pairs, tmp_path / "whole", batch_size=4, shard_rows=8))


def killed_and_resumed(tmp_path, moments):
    """Kill at a random instant after each number of finished shards; returns the bytes of the store at the end."""
    chance = random.Random(5)
    out = tmp_path / "out"
    for moment in moments:
        process = start(tmp_path / "images", out)
        wait_for(lambda moment=moment: finished_shards(out) >= moment, process)
        time.sleep(chance.uniform(0, 0.12))  # a shard takes about 0.1 s
        process.kill()
        process.join()
        assert finished_shards(out) < 8
    process = start(tmp_path / "images", out, seconds=0)
    process.join()
    assert process.exitcode == 0
    return tree(out)


def test_a_run_killed_at_random_moments_ends_with_the_same_bytes(tmp_path):
    whole = undisturbed(tmp_path)
    assert killed_and_resumed(tmp_path, [-1, 1, 4]) == whole
    assert len(load(tmp_path / "out").image) == 58


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_bytes(tmp_path):
    whole = undisturbed(tmp_path)
    assert killed_and_resumed(tmp_path, [-1, 0, 0, 1, 1, 2, 3, 3, 4, 5]) == whole


def test_of_two_writers_the_second_is_refused_and_the_first_ends_well(tmp_path):
    whole = undisturbed(tmp_path)
    first = start(tmp_path / "images", tmp_path / "out", seconds=0.1)
    wait_for(lambda: finished_shards(tmp_path / "out") >= 1, first)
    pairs = tiny_pairs(tmp_path / "images", 60, bad=(3, 17))
    with pytest.raises(InputError, match=f"is being written by process {first.pid} on "):
        extract(TinyEncoder(), pairs, tmp_path / "out", batch_size=4, shard_rows=8)
    first.join()
    assert first.exitcode == 0
    assert tree(tmp_path / "out") == whole


def test_ctrl_c_ends_soon_and_keeps_what_is_finished(tmp_path):
    whole = undisturbed(tmp_path)
    process = start(tmp_path / "images", tmp_path / "out", seconds=0.1)
    wait_for(lambda: finished_shards(tmp_path / "out") >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    process.join(timeout=20)
    assert process.exitcode == 130
    assert "of 8 shards are in " in (tmp_path / "message").read_text()
    assert not list((tmp_path / "out").rglob(".*"))  # neither lock nor half a file
    extract(
        TinyEncoder(), tiny_pairs(tmp_path / "images", 60, bad=(3, 17)), tmp_path / "out", batch_size=4, shard_rows=8
    )
    assert tree(tmp_path / "out") == whole


def test_a_disk_that_fills_up_leaves_whole_shards_and_a_way_on(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", small], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        whole = undisturbed(tmp_path)
        pairs = tiny_pairs(tmp_path / "images", 60, bad=(3, 17))
        with pytest.raises(GeomclipError, match=r"the disk is full \(.* MB free\)") as caught:
            extract(TinyEncoder(), pairs, small / "out", batch_size=4, shard_rows=8)
        assert "\n" not in str(caught.value)
        assert 0 < finished_shards(small / "out") < 8
        assert not list((small / "out").rglob(".*"))
        subprocess.run(["mount", "-o", "remount,size=10m", small], check=True)
        assert tree(extract(TinyEncoder(), pairs, small / "out", batch_size=4, shard_rows=8)) == whole
    finally:
        subprocess.run(["umount", small], check=True)

"""Encoders and tasks that die, run out of memory or are others where they are sent to, and the death of a driver."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import torch
from tiny import TinyEncoder, tiny_pairs

from geomclip.machine.errors import InputError
from geomclip.machine.words import option
from geomclip.panels.record import Panel


class Mortal(TinyEncoder):
    """Kills the process that it is in, at a moment drawn anew in each, until so many have died of it."""

    def __init__(self, folder, deaths, *, driver, within=12):
        super().__init__()
        self.folder, self.deaths, self.driver, self.within = Path(folder), deaths, driver, within

    def __setstate__(self, state):
        self.__dict__.update(state)
        self.left = random.Random(os.getpid()).randrange(1, self.within)  # calls; a shard takes about six

    def encode_image(self, pixels):
        self._live_on()
        return super().encode_image(pixels)

    def encode_text(self, tokens):
        self._live_on()
        return super().encode_text(tokens)

    def _live_on(self):
        if os.getpid() == self.driver:
            return
        self.left -= 1
        if self.left == 0 and len(list(self.folder.iterdir())) < self.deaths:
            (self.folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Narrow(TinyEncoder):
    """Has memory for so many inputs at a time, over all threads, in other processes than the driver's."""

    def __init__(self, room, *, driver, calls_before=0):
        super().__init__()
        self.room, self.driver, self.free_calls = room, driver, calls_before
        self.sizes = {}  # of the thread that encodes

    def encode_image(self, pixels):
        if os.getpid() == self.driver:
            return self.rows(pixels)
        me = threading.get_ident()
        self.sizes[me] = len(pixels)
        living = {thread.ident for thread in threading.enumerate()}
        full = sum(size for thread, size in self.sizes.items() if thread in living) > self.room
        self.free_calls -= 1
        try:
            time.sleep(0.05)  # so that the threads meet
            if full and self.free_calls < 0:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")
            return self.rows(pixels)
        finally:
            self.sizes.pop(me, None)

    # input by input, each at a place of its own: the same bits in a batch of any size

    def rows(self, pixels):
        return torch.cat([super(Narrow, self).encode_image(one[None].clone()) for one in pixels])

    def encode_text(self, tokens):
        return torch.cat([super(Narrow, self).encode_text(one[None].clone()) for one in tokens])


class Dependent(Narrow):
    """Its rows depend on the size of the batch."""

    def rows(self, pixels):
        return super().rows(pixels) + len(pixels)


class Homebound(TinyEncoder):
    """Encodes in the process that made it, and in no other."""

    def __init__(self):
        super().__init__()
        self.home = os.getpid()

    def encode_image(self, pixels):
        if os.getpid() != self.home:
            raise RuntimeError("an image was encoded elsewhere")
        return super().encode_image(pixels)


def another():
    """An encoder of another name and weights."""
    return TinyEncoder(name="another")


def extract_by_an_engine(images, out, engine, seconds):
    """What a test starts to be killed: the script of a user who asks for an engine."""
    from geomclip.encoders.extraction.calls import extract

    torch.set_num_threads(1)
    pairs = tiny_pairs(images, 60, bad=(3, 17))
    encoder = TinyEncoder(seconds=seconds)
    extract(encoder, pairs, out, batch_size=4, shard_rows=8, engine=engine, processes=2)


def kill_amid_shards(driver: subprocess.Popen[Any], out: Path, *, seconds: float) -> None:
    """Kill a process that extracts eight shards to `out` as soon as two of them are finished."""
    deadline = time.monotonic() + seconds
    while finished_shards(out) < 2:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    driver.kill()
    driver.wait()
    assert 2 <= finished_shards(out) < 8


def finished_shards(out: Path) -> int:
    """How many shards the manifest of a store vouches for; -1 if there is none yet."""
    try:
        return len(json.loads((out / "manifest.json").read_text())["shards"])
    except FileNotFoundError:
        return -1


def of_no_data(subject, asked):
    """Why a task of a test does not apply: it always does."""
    return ""


def dies_once(subject, asked, progress):
    """A task that kills the process that asks it first, then has an answer and a line."""
    if not asked.exists():
        asked.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    progress.log(f"{asked.name} was asked again")
    return Panel({"x": float(subject.seed)})


def dies(subject, asked, progress):
    """A task of which every process dies."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuses(subject, asked, progress):
    """A task that cannot be answered, as it finds out."""
    raise InputError(f"{option('limit')} {asked}: no image can be read")


def counts_images(subject, asked, progress):
    """A task that reads the rows of the data."""
    return Panel({"images": float(len(subject.embedded(progress).image))})


def marks(folder, trial):
    """A trial of a study: NAME, or NAME<OTHER where it needs OTHER; one of name "mortal" kills its first process."""
    name, _, other = trial.partition("<")
    if other and not (folder / other).exists():
        raise AssertionError(f"{other} should have been made before {name}")
    if name == "mortal" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    with (folder / name).open("a") as out:
        out.write("made ")


def data_of(subject, asked):
    """The data of the subject."""
    return subject.pairs()

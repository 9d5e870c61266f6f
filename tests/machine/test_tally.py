"""Tally and Read: nothing that is left out is forgotten, and what matters is warned of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geomclip.machine.tally import MANY, NAMES, Read, Tally

WORDS = st.sampled_from(["files", "rows", "captions"])
REASONS = st.sampled_from(["hidden", "twice", "an ending that is not read"])


@given(st.lists(st.tuples(WORDS, st.none() | REASONS, st.text(max_size=9))))
def test_what_was_seen_is_what_was_used_and_what_was_left_out(events):
    tally = Tally()
    for what, reason, name in events:
        if reason is None:
            tally.use(what)
        else:
            tally.leave_out(what, reason, name)
    read = tally.read()
    for what in ("files", "rows", "captions"):
        assert read.seen.get(what, 0) == sum(each == what for each, _, _ in events)
        left = sum(each.count for each in read.left_out if each.what == what)
        assert read.seen.get(what, 0) == read.used.get(what, 0) + left
    assert all(len(each.names) <= NAMES and "\n" not in "".join(each.names) for each in read.left_out)
    assert Read.from_dict(json.loads(json.dumps(read.to_dict()))) == read


@pytest.mark.parametrize(("used", "left", "warned"), [(99, 1, True), (991, 9, False), (5000, MANY, True), (0, 1, True)])
def test_ten_or_one_in_a_hundred_left_out_are_warned_of(used, left, warned):
    tally = Tally()
    tally.use("files", used)
    tally.leave_out("files", "hidden", "a", left)
    assert bool(list(tally.read().warnings())) == warned


def test_a_record_that_another_hand_changed_is_refused():
    with pytest.raises(ValueError, match="read is malformed"):
        Read.from_dict({"left_out": [{"what": "files"}]})
    with pytest.raises(ValueError, match="read is malformed"):
        Read.from_dict({"seen": {"files": "many"}})

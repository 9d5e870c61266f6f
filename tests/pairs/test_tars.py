"""webdataset tars: which members are a sample, what is counted, what is refused; the headers as `tarfile` has them."""

import bz2
import gzip
import io
import json
import lzma
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pair_files import jpeg, write, write_tar

from geomclip.machine.errors import InputError
from geomclip.pairs import Pairs, Source, load_pairs
from geomclip.pairs.tar_headers import members

quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(tar) -> Pairs:
    return load_pairs(Source(f"wds:{tar}"))


def refusal(tar, match: str) -> str:
    with pytest.raises(InputError, match=match) as caught:
        read(tar)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_image_and_a_text_of_one_name_are_a_sample_however_many_dots_it_has(tmp_path):
    files = {}
    for number in range(6):
        key = f"in.side/photo.v{number}" if number % 2 else f"photo{number}"
        files |= {f"{key}.jpg": jpeg(), f"{key}.txt": f"picture {number}"}
    files |= {"photo0.left.jpg": jpeg(), "photo0.meta.txt": "no caption"}
    pairs = read(write_tar(tmp_path / "t.tar", files))
    assert [pair.captions for pair in pairs.pairs] == [(f"picture {number}",) for number in range(6)]
    assert pairs.pairs[1].image_id == "t/in.side/photo.v1"
    (parts,) = pairs.read.left_out
    assert (parts.count, list(parts.names)) == (2, ["t.tar/photo0.left.jpg", "t.tar/photo0.meta.txt"])
    assert any("first dot" in line for line in pairs.read.how)


def test_members_of_one_name_but_for_case_are_refused_with_both(tmp_path):
    for one, other in (("1.txt", "1.TXT"), ("1.jpg", "1.JPG"), ("a.b.txt", "a.b.Txt"), ("1.txt", "1.txt")):
        with tarfile.open(tmp_path / "t.tar", "w") as archive:
            for name in ("0.jpg", "0.txt", one, other):
                data = jpeg() if name.lower().endswith("jpg") else b"text"
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        message = refusal(tmp_path / "t.tar", "write the tar with one of them")
        assert repr(one) in message
        assert repr(other) in message
        write_tar(tmp_path / "t.tar", {"0.jpg": jpeg(), "0.txt": "text", one: "text"})
        assert read(tmp_path / "t.tar").pairs[0].captions == ("text",)


def test_a_second_image_of_one_key_is_counted(tmp_path):
    pairs = read(write_tar(tmp_path / "t.tar", {"0.jpg": jpeg("red"), "0.png": jpeg("blue"), "0.txt": "a"}))
    assert pairs.pairs[0].image.read() == jpeg("red")
    assert [(each.reason, each.names) for each in pairs.read.left_out] == [
        ("a second image of one key", ("t.tar/0.png",))
    ]


def test_the_record_says_whether_lines_are_captions(tmp_path):
    files = {"0.jpg": jpeg(), "0.txt": "a hill\nPhoto: B", "0.json": json.dumps({"caption": "a hill\nPhoto: B"})}
    files |= {"1.jpg": jpeg(), "1.txt": "one\ntwo"}
    pairs = read(write_tar(tmp_path / "t.tar", files))
    assert [pair.captions for pair in pairs.pairs] == [("a hill Photo: B",), ("one", "two")]


def test_what_is_no_sample_is_counted_by_its_reason(tmp_path):
    file = write_tar(tmp_path / "t.tar", {"0.jpg": jpeg(), "0.txt": "a", "0.npy": b"x", "._0.jpg": b"", "Makefile": ""})
    with tarfile.open(file, "a") as archive:
        for name, kind in (("up", tarfile.DIRTYPE), ("1.jpg", tarfile.SYMTYPE), ("2.jpg", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "0.jpg"
            archive.addfile(member)
    pairs = read(file)
    assert {each.reason: each.count for each in pairs.read.left_out} == {
        "the ending .npy is not read": 1,
        "hidden": 1,
        "no ending": 1,
        "links, devices and files with holes": 2,
    }
    assert pairs.read.used == {"members": 2, "tars": 1, "samples": 1}


@pytest.mark.parametrize(("ending", "pack"), [("gz", gzip), ("bz2", bz2), ("xz", lzma)])
def test_a_compressed_tar_is_read_once_it_is_decompressed_as_told(tmp_path, ending, pack):
    whole = write_tar(tmp_path / "t.tar", {"0.jpg": jpeg(), "0.txt": "a"}).read_bytes()
    (tmp_path / "t.tar").unlink()
    packed = tmp_path / f"t.tar.{ending}"
    packed.write_bytes(pack.compress(whole))
    assert str(packed) in refusal(packed, "is compressed.*decompress it")
    refusal(tmp_path, rf"no tar at .*only compressed ones.*t\.tar\.{ending}")
    (tmp_path / "t.tar").write_bytes(pack.decompress(packed.read_bytes()))
    assert len(read(tmp_path)) == 1


def test_tars_a_folder_deeper_are_named(tmp_path):
    write_tar(tmp_path / "shards" / "0.tar", {"0.jpg": jpeg(), "0.txt": "a"})
    message = refusal(tmp_path, "name the folder that they are in")
    assert len(load_pairs(Source(message.rpartition("(")[2].rstrip(")")))) == 1


def test_a_blank_line_of_classnames_moves_no_number(tmp_path):
    write_tar(tmp_path / "0.tar", {"0.jpg": jpeg(), "0.cls": "1"})
    write(tmp_path, {"classnames.txt": "oak\n\nelm\n"})
    refusal(tmp_path, r"classnames\.txt: line 2 is blank")
    write(tmp_path, {"classnames.txt": "oak\nelm\n\n"})
    assert read(tmp_path).pairs[0].label == "elm"


# ---- whole or refused

keys = st.text("ab/0-_éx", min_size=1, max_size=150).filter(
    lambda key: not key.startswith(("/", "__")) and key[-1] != "/" and "//" not in key
)
kinds = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def write_samples(file, content: dict[str, list[str]], kind: int, times: bool) -> None:
    with tarfile.open(file, "w", format=kind) as archive:
        for key, captions in content.items():
            for ending, data in (("JPG", jpeg()), ("txt", "\r\n".join(captions).encode())):
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(data)
                member.mtime = 1.5e9 + 0.25 if times else 0
                archive.addfile(member, io.BytesIO(data))


@quick
@given(
    content=st.dictionaries(keys, st.lists(st.text("xyz", min_size=1), min_size=1, max_size=3), min_size=1, max_size=5),
    kind=kinds,
    times=st.booleans(),
)
def test_a_tar_is_read_whole_in_each_format(tmp_path, content, kind, times):
    try:
        write_samples(tmp_path / "t.tar", content, kind, times)
    except ValueError:
        return  # ustar holds no name as long as this
    pairs = read(tmp_path / "t.tar")
    assert {pair.image_id: pair.captions for pair in pairs.pairs} == {
        f"t/{key}": tuple(captions) for key, captions in content.items()
    }
    assert [pair.image_id for pair in pairs.pairs] == [f"t/{key}" for key in content]
    assert pairs.pairs[-1].image.read() == jpeg()
    assert pairs.read.seen == pairs.read.used


@quick
@given(content=st.dictionaries(keys, st.just(["x"]), min_size=1, max_size=4), kind=kinds, cut=st.floats(0, 1))
def test_a_tar_that_is_cut_short_is_refused(tmp_path, content, kind, cut):
    try:
        write_samples(tmp_path / "t.tar", content, kind, False)
    except ValueError:
        return
    whole = (tmp_path / "t.tar").read_bytes()
    (tmp_path / "t.tar").write_bytes(whole[: int(cut * len(whole.rstrip(b"\0")))])
    assert refusal(tmp_path / "t.tar", r"t\.tar is not a whole tar \(.*\); fetch or write it again")


@quick
@given(place=st.integers(0, 511), byte=st.integers(0, 255))
def test_a_damaged_header_is_refused(tmp_path, place, byte):
    data = bytearray(write_tar(tmp_path / "t.tar", {"a.jpg": jpeg(), "a.txt": "a"}).read_bytes())
    before, data[place] = data[place], byte
    (tmp_path / "t.tar").write_bytes(data)
    if byte == before or 148 <= place < 156:  # the sum may be written in several ways
        return
    assert refusal(tmp_path / "t.tar", "is not a whole tar")


@quick
@given(
    names=st.lists(
        st.text("ab/é.", min_size=1, max_size=120).filter(lambda name: name[-1] != "/"), min_size=1, max_size=4
    ),
    kind=kinds,
    sort=st.sampled_from([tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE]),
)
def test_headers_are_read_as_tarfile_reads_them(tmp_path, names, kind, sort):
    try:
        with tarfile.open(tmp_path / "t.tar", "w", format=kind) as archive:
            for number, name in enumerate(names):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = sort, "l" * (150 * (number % 2) + 1)
                member.size = number if sort == tarfile.REGTYPE else 0
                member.uname, member.mtime = "é", 1.25
                archive.addfile(member, io.BytesIO(b"x" * number))
    except ValueError:
        return
    with tarfile.open(tmp_path / "t.tar") as archive, (tmp_path / "t.tar").open("rb") as file:
        expected = [(each.name.rstrip("/"), each.offset_data, each.size, each.isreg()) for each in archive]
        found = [(each.name.rstrip("/"), each.offset, each.size, each.kind == "file") for each in members(file)]
    assert found == expected


def test_a_tar_whose_images_are_all_left_out_says_why(tmp_path):
    tar = write_tar(tmp_path / "0.tar", {"a.left.jpg": jpeg(), "a.txt": "one"})
    with pytest.raises(InputError, match=r"but no image .*; 1 members was left out: several dots in the name"):
        load_pairs(Source(f"wds:{tar}"))

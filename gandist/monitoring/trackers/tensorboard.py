"""TensorBoard's event files; a run that resumes at an earlier position cuts later events from them."""

import io
import os
import socket
import struct
import time
import uuid
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from gandist.media.animated import gif_bytes
from gandist.media.medium import Preview
from gandist.monitoring.health import Row
from gandist.monitoring.trackers.tracker import image_of, notes, scalars


class TensorBoard:
    """Event files in `RUN/tensorboard/`, one per attempt or roll-back.

    tensorboardX's `SummaryWriter` is not used: after its thread has met a full disk, the next call blocks forever.
    """

    FOLDER = "tensorboard"

    def __init__(self, folder: Path, images_seen: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._open(images_seen)

    def _open(self, images_seen: int) -> None:
        """Begin a file, after cutting the events past `images_seen` from the earlier files."""
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        from tensorboardX.record_writer import RecordWriter

        for path in self.folder.glob("events.out.tfevents.*"):
            _cut(path, images_seen)
        # Two files may begin in one second, and the second must not reuse the first one's name.
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{uuid.uuid4().hex[:8]}"
        self._records = RecordWriter(str(self.folder / name))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        if images_seen:  # a running TensorBoard has read the cut events: this makes it drop them
            start = SessionLog(status=SessionLog.START)
            self._write(Event(wall_time=time.time(), step=images_seen + 1, session_log=start))

    def _write(self, event: Any) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()

    def row(self, row: Row) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import text

        values = [Summary.Value(tag=key, simple_value=value) for key, value in scalars(row).items()]
        values += [each for key, said in notes(row).items() for each in text(key, said).value]
        self._write(Event(wall_time=row["time_s"], step=row["images_seen"], summary=Summary(value=values)))

    def preview(self, images_seen: int, preview: Preview) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import text

        if preview.lines:
            as_code = "".join(f"    {line}\n" for line in preview.lines)  # or it would be read as Markdown
            self._write(Event(wall_time=time.time(), step=images_seen, summary=text("samples", as_code)))
            return
        width, height = image_of(preview).size
        shown = preview.still if preview.plays else preview.content
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=shown)
        values = [Summary.Value(tag="samples", image=image)]
        if preview.plays:
            animation = gif_bytes(preview)  # the only kind that it plays
            width, height = Image.open(io.BytesIO(animation)).size
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=animation)
            values.append(Summary.Value(tag="samples/playing", image=image))
        for number, sound in enumerate(preview.sounds):
            values.append(Summary.Value(tag=f"samples/{number}", audio=_audio(sound)))
        self._write(Event(wall_time=time.time(), step=images_seen, summary=Summary(value=values)))

    def roll_back_to(self, images_seen: int) -> None:
        self._records.close()
        self._open(images_seen)

    def close(self) -> None:
        self._records.close()


def _audio(sound: bytes) -> Any:
    """A WAV file as a summary of a sound."""
    from tensorboardX.proto.summary_pb2 import Summary

    with wave.open(io.BytesIO(sound)) as file:
        rate, channels, frames = file.getframerate(), file.getnchannels(), file.getnframes()
    return Summary.Audio(
        sample_rate=rate,
        num_channels=channels,
        length_frames=frames,
        encoded_audio_string=sound,
        content_type="audio/wav",
    )


def _records(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(start, content) of the records of an event file, up to its end or to a truncated record."""
    at = 0  # length (8 bytes), its checksum (4), content, its checksum (4)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            return
        yield at, data[at + 12 : at + 12 + length]
        at += 16 + length


def _cut(path: Path, images_seen: int) -> None:
    """Drop the events past `images_seen` (all events at 0: the run begins anew) and a truncated end."""
    from tensorboardX.proto.event_pb2 import Event

    data, end, shown = path.read_bytes(), 0, False
    for at, content in _records(data):
        event = Event.FromString(content)
        if event.step > images_seen or (event.HasField("summary") and not images_seen):
            break
        end, shown = at + 16 + len(content), shown or event.HasField("summary")
    if not shown:
        path.unlink()
    elif end < len(data):
        os.truncate(path, end)

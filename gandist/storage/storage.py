"""Storage of a run's files: a folder, or a prefix of an object store, behind the few calls that a run needs."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow.fs as pafs

from gandist.errors import ConfigError
from gandist.storage.atomic import scratch_beside, sync_folder, write_atomically, write_synced
from gandist.storage.remote import filesystem, is_remote, join


class Storage:
    """Named files under one root. Names use forward slashes; every write is atomic."""

    def __init__(self, root: str, check: Callable[[], None] = lambda: None) -> None:
        """`root`: a folder or `s3://bucket/prefix`; a missing folder is created.

        `check` runs right before each change that a reader would see, and raises an error to forbid it.

        Raises:
            ConfigError: the folder cannot be created.
        """
        self.root, self.check = root.rstrip("/"), check
        self.local: Path | None = None if is_remote(root) else Path(root)
        if self.local is not None:
            try:
                self.local.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"run.dir: {root} cannot be made: {error.strerror}; choose another") from error
        self.filesystem, self.path = filesystem(self.root)

    def uri(self, name: str) -> str:
        """The full path of `name`, for messages."""
        return join(self.root, name)

    def _at(self, name: str) -> str:
        return f"{self.path}/{name}"

    def read_bytes(self, name: str) -> bytes | None:
        """The content of a file; None if it does not exist."""
        try:
            with self.filesystem.open_input_file(self._at(name)) as file:
                return bytes(file.read())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def exists(self, name: str) -> bool:
        return bool(self.filesystem.get_file_info(self._at(name)).type != pafs.FileType.NotFound)

    def write_bytes(self, name: str, data: bytes | memoryview) -> None:
        """Create or replace a file; a reader sees the old content or the new, also after a power cut."""
        if self.local is None:
            self.check()
            with self.filesystem.open_output_stream(self._at(name)) as stream:
                stream.write(data)
            return
        write_atomically(self.local / name, data, self.check)

    def write_folder(self, name: str, files: Mapping[str, bytes | memoryview], last: str) -> None:
        """Create or replace the folder `name` with `files`.

        A local folder is filled under a name that starts with a dot, then renamed. An object store has no rename: there
        the file `last` is written after all others (and deleted first when the folder is replaced). A folder is valid
        only if it holds `last`.
        """
        if self.local is None:
            self.delete(f"{name}/{last}")
            for file in sorted(files, key=lambda file: (file == last, file)):
                self.write_bytes(f"{name}/{file}", files[file])
            return
        target = self.local / name
        scratch = scratch_beside(target)
        scratch.mkdir(parents=True)
        for file, data in files.items():
            write_synced(scratch / file, data)
        sync_folder(scratch)
        old = target.with_name(f"{scratch.name}.old")
        try:
            self.check()
            if target.exists():
                target.rename(old)  # not removed in place: a process killed half-way would leave a part of it
            scratch.rename(target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)

    def folders(self, name: str) -> list[str]:
        """Names of the folders directly under `name`, sorted; those that start with a dot are unfinished."""
        selector = pafs.FileSelector(self._at(name), allow_not_found=True, recursive=False)
        infos = self.filesystem.get_file_info(selector)
        names = (info.base_name for info in infos if info.type == pafs.FileType.Directory)
        return sorted(name for name in names if not name.startswith("."))

    def files(self, name: str) -> list[str]:
        """Names of the files directly under `name`, sorted."""
        selector = pafs.FileSelector(self._at(name), allow_not_found=True, recursive=False)
        return sorted(info.base_name for info in self.filesystem.get_file_info(selector) if info.is_file)

    def sweep(self, name: str) -> None:
        """Delete unfinished files that killed writers left in the folder `name`."""
        if self.local is None:
            return
        found = list((self.local / name).glob(".*"))
        self.check()  # after listing, so that files begun by a later attempt are not in the list
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def delete_folder(self, name: str, last: str | None = None) -> None:
        """Delete a folder, starting with `last`, the file that makes it valid."""
        if last is not None:
            self.delete(f"{name}/{last}")
        self.check()
        self.filesystem.delete_dir(self._at(name))

    def delete(self, name: str) -> None:
        """Delete a file if it exists."""
        if self.exists(name):
            self.check()
            self.filesystem.delete_file(self._at(name))

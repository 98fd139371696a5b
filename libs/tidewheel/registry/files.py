"""The one place that turns a path sent by a user into bytes: below the root, through no link, plain files only."""

import errno
import hashlib
import os
import re
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tidewheel.contracts.errors import BadBundle, BadInput, BadModel, Conflict, ModelFileNotFound, NotFound
from tidewheel.modelstore.bundle import OpenBundle, read_bundle
from tidewheel.modelstore.files import read_in
from tidewheel.modelstore.formats import MAX_FILE_BYTES

DOCUMENTED_ROOT = "/app/trained_models"  #: what the documents call the root; it names ours everywhere
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_PARTS = 6
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def sha256(content: bytes) -> str:
    """The digest by which a file is known, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


class TrainedModels:
    """The folder TRAINED_MODELS_DIR. `root` itself may be a link, for the operator chose it; nothing below it may."""

    def __init__(self, root: Path) -> None:
        self.root = Path(os.path.abspath(root))  # noqa: PTH100 - without following links

    def locate(self, file_path: str) -> str:
        """The path below the root that `file_path` means: relative, or absolute under the root or /app/trained_models.

        Nothing is looked up on the disk.

        Raises:
            BadInput: it leads outside, or has a part that no model file has (code `path_outside_root`).
        """
        rest = file_path
        for prefix in (f"{self.root.as_posix()}/", f"{DOCUMENTED_ROOT}/"):
            if file_path.startswith(prefix):
                rest = file_path[len(prefix) :]
                break
        parts = rest.split("/")
        if len(parts) > _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
            raise BadInput(
                f"file_path {file_path[:200]!r} is not a path below the models folder; send it relative to "
                f"TRAINED_MODELS_DIR, at most {_MAX_PARTS} parts of letters, digits, '.', '_' and '-' that begin with "
                "a letter or digit",
                code="path_outside_root",
            )
        return rest

    def read(self, relative: str, *, limit: int = MAX_FILE_BYTES) -> bytes:
        """The content of the plain file at `relative`, when it has at most `limit` bytes.

        Raises:
            BadInput: as `locate`, or a part of the path is a link (code `path_outside_root`).
            ModelFileNotFound: there is no such file.
            BadModel: it is a folder, a device or a pipe, too large, or not readable for this user.
        """
        with self._folder_of(relative) as (folder, name):
            try:
                content = read_in(folder, name, limit)
            except BadBundle as refused:
                raise BadModel(f"{relative}: {refused.detail}") from None
        if len(content) > limit:  # it grew while it was read
            raise BadModel(f"{relative} has more than the {limit} bytes allowed")
        return content

    def read_registered(self, relative: str, digest: str) -> bytes:
        """The same, when its digest is still the one that was registered.

        Raises:
            Conflict: the file holds something else now (code `model_file_changed`).
        """
        content = self.read(relative)
        if sha256(content) != digest:
            raise _changed(
                f"{relative} is no longer the file that was registered (sha256 {digest[:12]}..., now "
                f"{sha256(content)[:12]}...)"
            )
        return content

    def is_folder(self, relative: str) -> bool:
        """Whether `relative` is a folder, reached through no link; False where nothing is there.

        Raises:
            BadInput, BadModel: as `read`.
        """
        try:
            with self._folder_of(relative) as (folder, name):
                return stat.S_ISDIR(_looked_at(folder, name, relative))
        except ModelFileNotFound:
            return False

    def read_bundle(self, relative: str) -> OpenBundle:
        """The bundle of ours in the folder `relative`, every byte of which its manifest vouches for.

        Raises:
            BadInput, ModelFileNotFound: as `read`.
            BadModel: a file is damaged, missing, added, linked or unreadable, or it is no bundle.
        """
        try:
            return self._bundle(relative)
        except BadBundle as refused:
            raise BadModel(f"{relative}: {refused.detail}") from None

    def read_registered_bundle(self, relative: str, digest: str) -> OpenBundle:
        """The same, when it is still the one that was registered.

        Raises:
            Conflict: a file in it has changed, or it is another bundle (code `model_file_changed`).
        """
        try:
            bundle = self._bundle(relative)
        except BadBundle as refused:
            raise _changed(f"{relative} is no longer the bundle that was registered: {refused.detail}") from None
        if bundle.manifest.digest != digest:
            raise _changed(
                f"{relative} is no longer the bundle that was registered ({digest[:12]}..., now "
                f"{bundle.manifest.digest[:12]}...)"
            )
        return bundle

    def _bundle(self, relative: str) -> OpenBundle:
        with self._folder_of(relative):
            try:
                return read_bundle(self.path(relative))
            except NotFound:
                raise ModelFileNotFound(relative) from None

    def path(self, relative: str) -> Path:
        """Where `relative` lies; for a file that is written there, and a bundle that a child reads."""
        return self.root / self.locate(relative)

    @contextmanager
    def _folder_of(self, relative: str) -> Iterator[tuple[int, str]]:
        """The open folder that holds the last part, and that part's name; the part is there and no link."""
        *above, name = self.locate(relative).split("/")
        with ExitStack() as opened:
            try:
                folder = os.open(self.root, _FOLDER & ~os.O_NOFOLLOW)
            except FileNotFoundError:
                raise ModelFileNotFound(relative) from None
            opened.callback(os.close, folder)
            for part in above:
                folder = _enter(folder, part, relative)
                opened.callback(os.close, folder)
            _looked_at(folder, name, relative)
            try:
                yield folder, name
            except PermissionError:
                raise _forbidden(relative) from None


def _enter(folder: int, part: str, relative: str) -> int:
    try:
        if not stat.S_ISDIR(_looked_at(folder, part, relative)):
            raise ModelFileNotFound(relative)
        return os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):  # swapped since it was looked at
            raise ModelFileNotFound(relative) from None
        if error.errno == errno.EACCES:
            raise _forbidden(relative) from None
        raise


def _looked_at(folder: int, name: str, relative: str) -> int:
    """The mode of what is there, which is no link; opening it later follows none either."""
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        raise ModelFileNotFound(relative) from None
    except PermissionError:
        raise _forbidden(relative) from None
    if stat.S_ISLNK(mode):
        raise BadInput(
            f"file_path {relative!r} goes through the symbolic link {name!r}; links below the models folder are not "
            "followed, put the file itself there",
            code="path_outside_root",
        )
    return mode


def _forbidden(relative: str) -> BadModel:
    return BadModel(f"{relative} may not be read by uid {os.geteuid()}; make it readable")


def _changed(what: str) -> Conflict:
    remedy = "put the old one back, or register the new one and let the alias name that version"
    return Conflict(f"{what}; {remedy}", code="model_file_changed")

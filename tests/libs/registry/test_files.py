import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidewheel.contracts.errors import BadInput, BadModel, Conflict, ModelFileNotFound, TidewheelError
from tidewheel.registry.files import TrainedModels, sha256

NAME = "model.skops"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A models folder with a file and a folder in it, and a secret beside it that no path may reach."""
    root = tmp_path / "trained"
    (root / "deep" / "er").mkdir(parents=True)
    (root / NAME).write_bytes(b"a model")
    (root / "deep" / "er" / NAME).write_bytes(b"a deep model")
    (tmp_path / NAME).write_bytes(b"secret")
    (tmp_path / "trained-more").mkdir()
    (tmp_path / "trained-more" / NAME).write_bytes(b"secret")
    return root


def escapes(root: Path) -> Iterator[str]:
    """Ways to say `the file beside the root`, and whatever else is no path of a model file."""
    outside = root.parent / NAME
    dots = [
        "..", ".", "...", "....", "%2e%2e", "%2E%2E", "..%2f", "%2e%2e%2f", "%252e%252e%252f", "..%5c", "..\\", "..;",
        "%c0%ae%c0%ae", "%uff0e%uff0e", "．．", "‥", "․․", ".. ", " ..", "..\t", "..\n", "..\0", "..%00", "~", "~root",
        "$HOME", "${HOME}", "..//", "./..", "../.", ".-", "-", "_", " ", "",
    ]  # fmt: skip
    for dot in dots:
        yield f"{dot}/{NAME}"
        yield f"deep/{dot}/{dot}/{NAME}"
        yield f"/app/trained_models/{dot}/{NAME}"
        yield f"{root}/{dot}/{NAME}"
    yield from (f"{'../' * depth}{outside.as_posix()[1:]}" for depth in range(1, 13))
    yield from (f"deep/{'../' * depth}{NAME}" for depth in range(1, 9))
    yield from (f"{prefix}{outside}" for prefix in ("", "/", "//", "file://", "file:", "\\\\?\\", "C:", "C:\\", "/./"))
    yield from (
        f"{prefix}{NAME}" for prefix in ("/", "//", "\\", "\\\\host\\share\\", "C:/", "http://host/", "./", "\0")
    )
    yield from (
        f"{NAME}{suffix}" for suffix in ("/", "/.", "/..", "\0", "\0.skops", "\n", " ", "::$DATA", "\\", "?", "#")
    )
    yield from (
        "/app/trained_models",
        "/app/trained_models/",
        "/app/trained_models_more/x",
        f"/app/trained_models/{outside}",
    )
    yield from (
        "/app/../app/trained_models/model.skops",
        f"{root}-more/{NAME}",
        f"{root}/",
        str(root),
        f"{root}/../{NAME}",
    )
    yield from (
        f"/proc/self/root{outside}",
        f"/proc/self/cwd/{NAME}",
        "/dev/stdin",
        "/etc/passwd",
        "/etc/passwd\0.skops",
    )
    yield from (
        "a/" * 6 + NAME,
        "a" * 101,
        "é.skops",
        "модель.skops",
        "a\u202eb",
        "*",
        "[a]",
        "a b",
        ".hidden",
        "a|b",
        "a;b",
    )
    yield f"deep/{'x' * 5000}"


def test_no_path_leads_outside(root: Path) -> None:
    """R16: of 200 and more traversal and escape forms none is accepted, and none meets anything but its refusal."""
    forms = list(escapes(root))
    models = TrainedModels(root)
    accepted = []
    for form in forms:
        with pytest.raises(BadInput) as refused:
            accepted.append((form, models.read(form)))
        assert refused.value.code == "path_outside_root", form

    assert accepted == []
    assert len(set(forms)) >= 200


def test_what_is_meant_is_found(root: Path) -> None:
    """Relative, documented and own absolute spellings name the same file."""
    models = TrainedModels(root)

    for form in (f"deep/er/{NAME}", f"/app/trained_models/deep/er/{NAME}", f"{root}/deep/er/{NAME}"):
        assert models.locate(form) == f"deep/er/{NAME}"
        assert models.read(form) == b"a deep model"
        assert models.path(form) == root / "deep" / "er" / NAME
    assert models.is_folder("deep/er") and not models.is_folder(NAME)


def test_links_are_not_followed(root: Path) -> None:
    """A link to a file or a folder, out of the root or inside it, is refused anywhere; the root may be one."""
    (root / "out.skops").symlink_to(root.parent / NAME)
    (root / "in.skops").symlink_to(root / NAME)
    (root / "dangling.skops").symlink_to(root / "nowhere")
    (root / "outside").symlink_to(root.parent)
    (root / "inside").symlink_to(root / "deep")
    models = TrainedModels(root)

    for form in ("out.skops", "in.skops", "dangling.skops", f"outside/{NAME}", f"inside/er/{NAME}", "inside"):
        for look in (models.read, models.is_folder):
            with pytest.raises(BadInput, match="symbolic link") as refused:
                look(form)
            assert refused.value.code == "path_outside_root"
    (root.parent / "elsewhere").symlink_to(root)
    assert TrainedModels(root.parent / "elsewhere").read(NAME) == b"a model"


def test_only_plain_files_are_read(root: Path) -> None:
    """A pipe, a socket, a folder, a file used as a folder, one too large or forbidden: refused, at once."""
    os.mkfifo(root / "pipe.skops")
    (root / "folder.skops").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(root)  # the whole path may be too long for a socket
        listening.bind("socket.skops")
        os.chdir(here)
    models = TrainedModels(root)

    refused = {}
    for form in ("pipe.skops", "folder.skops", "socket.skops", "none.skops", "none/a.skops", f"{NAME}/a.skops"):
        with pytest.raises(TidewheelError) as told:
            models.read(form)
        refused[form] = told.value.code
    with pytest.raises(BadModel, match="more than the 3 allowed"):
        models.read(NAME, limit=3)

    assert refused == {
        "pipe.skops": "bad_model",
        "folder.skops": "bad_model",
        "socket.skops": "bad_model",
        "none.skops": "model_file_not_found",
        "none/a.skops": "model_file_not_found",
        f"{NAME}/a.skops": "model_file_not_found",
    }
    with pytest.raises(ModelFileNotFound, match=r"^Model file not found: none\.skops$"):
        models.read("none.skops")
    with pytest.raises(ModelFileNotFound, match=r"^Model file not found: none\.skops$"):
        TrainedModels(root / "absent").read("none.skops")


def test_a_device_is_not_read(root: Path) -> None:
    """A device node is no plain file; where this user may not make one, the folder of devices stands in as the root."""
    with pytest.raises(BadModel, match="not a plain file"):
        TrainedModels(Path("/dev")).read("zero")


def test_a_file_that_changed_is_not_loaded(root: Path) -> None:
    """The bytes must be those whose digest was registered."""
    models = TrainedModels(root)
    digest = sha256(b"a model")
    assert models.read_registered(NAME, digest) == b"a model"

    (root / NAME).write_bytes(b"a modeL")

    with pytest.raises(Conflict, match="no longer the file that was registered") as refused:
        models.read_registered(NAME, digest)
    assert refused.value.code == "model_file_changed"

"""What was promoted last: `current` of a family, <models>/current, and the record beside them.

The ledger decides which version is champion; these are projections of its promotions.
"""

import errno
from pathlib import Path
from typing import Any

from tidewheel.contracts.errors import BadBundle, BadInput
from tidewheel.contracts.keys import FAMILY, is_version, path_part
from tidewheel.disk import make_folders, replace_durably
from tidewheel.modelstore.bundle import canonical
from tidewheel.modelstore.files import link_target, put_aside, replace_link, writing
from tidewheel.modelstore.formats import strict_json

ROOT_FAMILY = FAMILY  #: the family behind <models>/current
_CURRENT, _REGISTRY = "current", "registry"


class Links:
    """Those below one models directory."""

    def __init__(self, models_dir: Path) -> None:
        self.models_dir = models_dir

    def family_dir(self, family: str) -> Path:
        """Where the family's versions lie.

        Raises:
            BadInput: no family can be called so.
        """
        if family in (_CURRENT, _REGISTRY):
            raise BadInput(f"a family cannot be called {family!r}")
        return self.models_dir / path_part(family)

    def current(self, family: str) -> str | None:
        """The version that `current` points at; None before the first promotion. One readlink.

        Raises:
            BadBundle: `current` points outside the family's versions.
        """
        return self._linked(self.family_dir(family) / _CURRENT, self.family_dir(family))

    def root_repointed(self) -> str | None:
        """The version of `hmm` that a person pointed <models>/current at directly; None when it is as we make it."""
        link = self.models_dir / _CURRENT
        family_dir = self.family_dir(ROOT_FAMILY)
        if not link.is_symlink() or link_target(link) == family_dir / _CURRENT:
            return None
        return self._linked(link, family_dir)

    def fault(self, family: str) -> str | None:
        """Why `current` of the family (of `hmm`: <models>/current too) is no link to one of its versions, if so."""
        root = self.models_dir / _CURRENT
        try:
            self.current(family)
            if family == ROOT_FAMILY:
                self.root_repointed()
                if root.exists() and not self.rooted():
                    return _no_link(root)
        except BadBundle as odd:
            return odd.detail
        return None

    def put_aside(self, family: str) -> list[tuple[Path, Path]]:
        """Move what is no link out of the way of `current` (of `hmm`: of both), and a folder off the registry's file.

        Nothing of it is deleted: where each lay, and where it lies now.
        """
        links = [self.family_dir(family) / _CURRENT] + [self.models_dir / _CURRENT] * (family == ROOT_FAMILY)
        odd = [link for link in links if link.exists() and not link.is_symlink()]
        odd += [path for path in (self._registry_file(family),) if path.is_dir()]
        return [(path, put_aside(self.models_dir, path)) for path in odd]

    def rooted(self) -> bool:
        """Whether <models>/current is a link, wherever it leads."""
        return (self.models_dir / _CURRENT).is_symlink()

    def registry(self, family: str) -> dict[str, Any] | None:
        """What the registry file says was promoted last; None before the first promotion.

        Raises:
            BadBundle: the file is damaged; the next promotion writes it anew.
        """
        path = self._registry_file(family)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError:
            raise BadBundle(f"{path} is a folder, not a record of a promotion") from None
        record = strict_json(path.name, content)
        if not isinstance(record, dict):
            raise BadBundle(f"{path} is not a record of a promotion")
        return record

    def flip(self, family: str, version: str, record: dict[str, Any]) -> None:
        """Point at a version, and write down the record of it.

        Raises:
            BadSetting: the models directory is read-only.
        """
        with writing(self.models_dir):
            replace_link(self.family_dir(family) / _CURRENT, version)
            if family == ROOT_FAMILY:
                replace_link(self.models_dir / _CURRENT, f"{ROOT_FAMILY}/{_CURRENT}")
            path = self._registry_file(family)
            make_folders(path.parent)
            replace_durably(path, canonical(record))

    def forget(self, family: str) -> None:
        """Point at nothing, and know of no promotion.

        Raises:
            BadSetting: the models directory is read-only.
        """
        with writing(self.models_dir):
            (self.family_dir(family) / _CURRENT).unlink(missing_ok=True)
            self._registry_file(family).unlink(missing_ok=True)

    def _linked(self, link: Path, family_dir: Path) -> str | None:
        try:
            target = link_target(link)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise BadBundle(_no_link(link)) from None
        if target.parent != family_dir.absolute() or not is_version(target.name):
            raise BadBundle(f"{link} points at {target}, which is not a version in {family_dir}")
        return target.name

    def _registry_file(self, family: str) -> Path:
        return self.models_dir / _REGISTRY / f"{path_part(family)}.json"


def _no_link(path: Path) -> str:
    return f"{path} is not a symbolic link; the keeper puts it aside, and the link back"

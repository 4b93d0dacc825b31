"""Local plugins: a Python file or a folder beside a task, imported under a name of its own.

A folder is a package. Nothing is put on the path of modules, so a plugin hides no installed module,
and folders of one name, or with files of one name, do not meet.
"""

from __future__ import annotations

import ast
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
    SourcelessFileLoader,
    all_suffixes,
)
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

PREFIX = "recurra_file_"
"""How the name begins under which a local plugin is imported."""
SUFFIXES = tuple(all_suffixes())
"""How a file ends that Python imports."""
CODE = "__init__.py"


class Fault(NamedTuple):
    """Why a path is no local plugin: the code of the error, what is wrong, and what to do."""

    code: str
    fact: str
    cure: str = ""


def fault(path: Path) -> Fault | None:
    """Return why a path is no local plugin, by its look alone; nothing where it is one."""
    if os.path.isfile(path):
        if path.name == CODE:
            cure = f"name the folder: {path.parent}"
            return Fault("RC013", f"a package is named by its folder, not by {path}", cure)
        if path.suffix != ".py":
            return Fault("RC013", f"{path} is not a Python file: it does not end in .py")
        return None

    if not os.path.isdir(path):
        return Fault("RC001", f"the plugin file does not exist: {path}")
    if not os.path.isfile(path / CODE):
        cure = f"a plugin folder is a package: put the hook, recurra_components, into its {CODE}"
        return Fault("RC001", f"the plugin folder has no {CODE}: {path}", cure)
    if not path.name.isidentifier():
        cure = "rename it: letters, digits and _ alone"
        return Fault("RC013", f"a target cannot name a module of this plugin folder: {path}", cure)
    return None


def digest(path: Path) -> str:
    """Return what tells one text of a local plugin from another: of a folder, of all its modules.

    Those count that nothing imports, too: which are imported is known once all of them were.
    """
    try:
        content = _whole(path) if os.path.isdir(path) else path.read_bytes()
    except (OSError, ValueError):
        # Told when it is loaded.
        return "missing"
    return hashlib.sha256(content).hexdigest()[:12]


def _whole(folder: Path) -> bytes:
    """Return the hash of each module of a folder, in the order of their names."""
    lines = []
    for file in _modules(folder):
        name = os.fsencode(file.relative_to(folder).as_posix())
        lines.append(_text_of(file).encode() + b" " + name + b"\n")
    return b"".join(lines)


def _text_of(file: Path) -> str:
    """Return the hash of a module, or that it has no text: a broken link, a pipe, unreadable.

    An import of it fails; those of the others do not.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "none"
    except OSError:
        return "none"


def _modules(folder: Path) -> Iterator[Path]:
    """Give the files of a folder that an import can name."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if _importable(name))
        for name in sorted(files):
            if name.endswith(SUFFIXES) and name.partition(".")[0].isidentifier():
                yield Path(place, name)


def _importable(folder: str) -> bool:
    return folder.isidentifier() and folder != "__pycache__"


def name_of(origin: str, version: str) -> str:
    """Return the name under which a text of a local plugin is imported: of each text another."""
    return PREFIX + hashlib.sha256(f"{origin}\0{version}".encode()).hexdigest()[:12]


def load(path: Path, name: str) -> ModuleType:
    """Import a local plugin under a name, anew if it has been. Raises whatever its code raises."""
    _forget(name)
    if found := fault(path):
        raise ImportError(found.fact)
    if _FINDER not in sys.meta_path:
        # Before Python's own, which would find these modules without what is asked of them here.
        sys.meta_path.insert(0, _FINDER)

    is_folder = os.path.isdir(path)
    file = path / CODE if is_folder else path
    spec = spec_from_file_location(
        name,
        file,
        loader=_Loader(name, str(file)),
        submodule_search_locations=[str(path)] if is_folder else None,
    )
    assert spec is not None and spec.loader is not None
    if is_folder:
        _stays(str(file), str(path))

    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        # What was imported of it is of no use.
        _forget(name)
        raise
    return module


def _forget(name: str) -> None:
    """Take a local plugin and all its modules out of those that are imported."""
    for other in list(sys.modules):
        if other == name or other.startswith(f"{name}."):
            del sys.modules[other]


class _Finder:
    """Finds the modules of local plugin folders, and no others."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of a folder is, if `name` is of one. Raises `ImportError`."""
        if not name.startswith(PREFIX) or path is None:
            return None
        root = sys.modules[name.partition(".")[0]].__path__[0]
        for folder in path:
            # Its own list of the folder's files: one that is kept may be older than a file.
            spec = FileFinder(folder, *_LOADERS).find_spec(name)
            if spec is not None:
                for file in [spec.origin] if spec.origin else spec.submodule_search_locations or []:
                    _stays(file, root)
                return spec
        return None


_FINDER = _Finder()


def _stays(file: str, root: str) -> None:
    """Raise `ImportError` if a module is a link out of what is hashed of its plugin's folder."""
    real = Path(os.path.realpath(file))
    home = Path(os.path.realpath(root))
    inside = real.is_relative_to(home)
    if not inside or not all(map(_importable, real.relative_to(home).parts[:-1])):
        raise ImportError(f"{file} is a link that leaves the plugin folder, to {real}")


class _Loader(SourceFileLoader):
    """Runs the text of a file as it is now, and leaves no compiled copy beside it.

    Python takes a copy for fresh if the file has its size and second, whatever it says.
    """

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of a module. Raises `ImportError` where it imports a file beside it."""
        text = self.get_data(self.path)
        try:
            tree = ast.parse(text, self.path)
            _refuse_files_beside(tree, Path(self.path), fullname)
            return compile(tree, self.path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            # Of what is nested too deeply, or holds a NUL, Python does not say where it stands.
            if getattr(error, "filename", None):
                raise
            reason = str(error) or "it is nested too deeply"
            raise ImportError(f"{self.path} cannot be compiled: {reason}") from error


_LOADERS = (
    (ExtensionFileLoader, EXTENSION_SUFFIXES),
    (_Loader, [".py"]),
    (SourcelessFileLoader, BYTECODE_SUFFIXES),
)
"""What Python has, in its order, but for the one of texts."""


def _refuse_files_beside(tree: ast.AST, file: Path, module: str) -> None:
    """Raise `ImportError` if a module imports another of its plugin as an installed one.

    It may be found, if the folder happens to be on the path, but then it is not recorded, and is
    another plugin's as well.
    """
    root = getattr(sys.modules[module.partition(".")[0]], "__path__", None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and root is None:
            raise ImportError(f"{file}:{node.lineno} imports a file beside it: {_TO_A_FOLDER}")
        else:
            continue

        for name in names:
            found = _beside(name, file, Path(root[0]) if root else None)
            if found is not None:
                cure = "write `from . import ...`" if root else _TO_A_FOLDER
                raise ImportError(
                    f"{file}:{node.lineno} imports {found}, which is beside it: {cure}"
                )


_TO_A_FOLDER = (
    f"put both into a folder with an {CODE} that holds the hook, write `from . import ...` there,"
    " and name the folder"
)


def _beside(name: str, file: Path, root: Path | None) -> Path | None:
    """Return the file of the plugin that an absolute import means, if it means one."""
    first, _, rest = name.partition(".")
    if root is not None and first == root.name and rest:
        # Its own module, even where an installed package has the folder's name.
        own = _module_in(root, rest.partition(".")[0])
        if own is not None:
            return own

    places = [file.parent] if root is None else [file.parent, root, root.parent]
    for place in places:
        found = _module_in(place, first)
        if found not in (None, file) and not _is_elsewhere(first, found):
            return found
    return None


def _module_in(folder: Path, name: str) -> Path | None:
    for file in (folder / name / CODE, folder / f"{name}.py"):
        if file.is_file():
            return file
    return None


def _is_elsewhere(name: str, found: Path) -> bool:
    """Tell whether a name means something installed, and not the file that was found."""
    if name in sys.stdlib_module_names:
        return True
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):
        # It is imported already, and does not say from where.
        return True
    if spec is None or spec.origin is None:
        return False
    origin = Path(os.path.realpath(spec.origin))
    place = origin.parents[1] if spec.submodule_search_locations else origin.parent
    # What stands beside the program that runs is another task's, perhaps, but not installed.
    beside_program = place == Path(os.path.realpath(sys.path[0]))
    return origin != Path(os.path.realpath(found)) and not beside_program

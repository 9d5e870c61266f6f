"""How many files of geomclip/ must know of one thing? Counted from the code of a commit and of the working tree.

python benchmarks/ways.py [--before REV] [--after REV] [-v]

Four things are followed: a `--bootstrap` given to `geomclip measure`, a λ of the mixed losses, a caption, and the set
of embeddings. A file counts where its code names the thing: a parameter, keyword, variable, attribute, field, flag, or
a string used as a key, under a name of WAYS; or where a function hands on `**options` with it inside to one that takes
it by such a name. Comments, docstrings and messages do not count, nor a file that hands on a whole record without
looking at the thing: who changes the thing need not read it. What is computed from it (tokens of a caption, a mixture)
is another thing. A definition is looked at only if the commands of the way can reach it, through the names in the code;
a way without commands looks at all.

So that a new name does not look like a shorter way, every place is checked where the thing is handed on unchanged, by
`other=thing`, `other = thing`, or as an argument of a function of geomclip whose parameter is named `other`: a name
that WAYS lacks is printed and the exit code is 1. So is a name that the code before has and the code after has no more,
until WAYS says that it is `gone` (and has the new one, if there is one). The class of the set is found by its fields: a
class or protocol that declares half of them or more is the set, whatever it is called.
"""

import argparse
import ast
import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "0d5664b"
GOAL = 0.6
"""Files now, of those before."""


@dataclass(frozen=True)
class Way:
    """One thing, the names that it goes under, and what to leave apart.

    `names` are identifiers; `keys` are strings used as keys, flags written as the names of their parameters. In a
    definition of `apart` or what is handed to it, in a comparison with a name of `choices`, or as its value, the same
    words mean something else; as do parameters of a name of `options` that are annotated `str`. `beyond` are names
    outside that it comes from or goes to, where following ends. `fields` find a class in place of names. `gone` are
    names that only the older code has.
    """

    title: str
    names: frozenset[str]
    keys: frozenset[str]
    commands: tuple[str, ...] = ()
    apart: frozenset[str] = frozenset()
    choices: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    beyond: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


WAYS = (
    Way(
        "a --bootstrap",
        names=words("bootstrap resamples"),
        keys=words("bootstrap resamples"),
        commands=("measure",),
        choices=words("interval"),  # a metric says how its interval is made: "bootstrap"
    ),
    Way(
        "a λ of the mixup",
        names=words("lam lams beta_m2 beta_mix beta_vl"),
        keys=words("beta_m2 beta_mix beta_vl lambda"),
        # all of the package: a row of the table of terms has its loss by name, which no import shows
        apart=words("along"),  # points of an arc that is drawn
    ),
    Way(
        "a caption",
        names=words("caption captions other_captions"),
        keys=words("caption"),
        apart=words("Picture Figure _tried"),  # the words below a figure of a page
        options=words("captions"),  # all, first or one: which of them
        beyond=words(
            "texts text values words one candidates"
        ),  # lines of a table; any text; what is scored as words, or as rows
    ),
    Way(
        "an EmbeddingSet",
        names=frozenset(),
        keys=frozenset(),
        fields=words(
            "image text image_of_text logit_scale logit_bias labels class_text classes image_id image_path caption_id "
            "caption truncated columns made_from logit_scale_source image_norms text_norms"
        ),
    ),
)


# --- reading


def sources(revision: str | None) -> dict[str, str]:
    """Path in geomclip/ -> source, of a revision or of the working tree."""
    if revision is None:
        return {
            path.relative_to(ROOT / "geomclip").as_posix(): path.read_text(encoding="utf-8")
            for path in sorted((ROOT / "geomclip").rglob("*.py"))
        }
    done = subprocess.run(["git", "-C", str(ROOT), "archive", revision, "geomclip"], capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{revision}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = [member for member in archive.getmembers() if member.name.endswith(".py")]
        return {
            member.name.partition("/")[2]: file.read().decode("utf-8")
            for member in files
            if (file := archive.extractfile(member)) is not None
        }


Unit = tuple[str, str]
"""A definition at the top of a file: the file, and its name; "" for statements that define nothing."""


class Package:
    """The files of a package, their definitions, and what a name in one of them stands for."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.trees = {file: ast.parse(source) for file, source in files.items()}
        self.modules = {module_name(file): file for file in files}
        self.units: dict[Unit, list[ast.stmt]] = {}
        self.imported: dict[str, dict[str, str]] = {}  # file -> name in it -> dotted name
        for file, tree in self.trees.items():
            for statement in tree.body:
                for name in defined(statement):
                    self.units.setdefault((file, name), []).append(statement)
            self.imported[file] = dict(imports(tree, module_name(file), file.endswith("__init__.py")))

    def unit(self, file: str, dotted: str) -> Unit | None:
        """The definition that a name, or a name of a module, stands for in a file."""
        first, _, rest = dotted.partition(".")
        if (file, first) in self.units:
            return (file, first)
        full = self.imported[file].get(first)
        return None if full is None else self.found(f"{full}.{rest}" if rest else full)

    def found(self, full: str, depth: int = 0) -> Unit | None:
        """The definition with a dotted name, through the files that import it from elsewhere."""
        module, _, name = full.rpartition(".")
        if not module or depth > 9:
            return None
        if module not in self.modules:
            return self.found(module, depth + 1)  # an attribute of a definition
        file = self.modules[module]
        if (file, name) in self.units:
            return (file, name)
        return self.found(self.imported[file][name], depth + 1) if name in self.imported[file] else None

    def reached(self, commands: Sequence[str]) -> set[Unit]:
        """The definitions that these commands can come to: all that is named in one that is reached."""
        left = [unit for unit, body in self.units.items() if unit[1] in commands and any(map(is_command, body))]
        if missing := set(commands) - {name for _, name in left}:
            raise SystemExit(f"no command {', '.join(sorted(missing))} in the code")
        seen = set(left)
        while left:
            unit = left.pop()
            for body in self.units[unit]:
                own = local_names(body)
                named = (dotted for dotted in dotted_names(body) if dotted.partition(".")[0] not in own)
                new = {found for dotted in named if (found := self.unit(unit[0], dotted))} - seen
                seen |= new
                left += new
        return seen

    def parameters(self, file: str, dotted: str) -> list[str] | None:
        """The parameters of a function, or of what makes a class; None where it is not of this package."""
        unit = self.unit(file, dotted)
        if unit is None:
            return None
        node = self.units[unit][0]
        if isinstance(node, ast.ClassDef):
            inside = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
            if "__init__" in inside:
                return named_parameters(inside["__init__"])[1:]
            return [
                each.target.id
                for each in node.body
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
            ]
        return named_parameters(node) if isinstance(node, ast.FunctionDef) else None


def module_name(file: str) -> str:
    """Dotted name of a file's module."""
    return ".".join(("geomclip", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


def defined(statement: ast.stmt) -> list[str]:
    """The names that a statement defines; imports define none."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return []
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        names = [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
        return names or [""]
    return [""]


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[str, str]]:
    """Name in the file -> dotted name in geomclip, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + is_package]
                base = ".".join([*above, base] if base else above)
            if base.split(".")[0] == "geomclip":
                yield from ((each.asname or each.name, f"{base}.{each.name}") for each in node.names)


def is_command(node: ast.stmt) -> bool:
    """Whether it is decorated as a command of click."""
    return isinstance(node, ast.FunctionDef) and any(
        isinstance(each, ast.Call) and isinstance(each.func, ast.Attribute) and each.func.attr in ("command", "group")
        for each in node.decorator_list
    )


def dotted_names(tree: ast.AST) -> Iterator[str]:
    """All names in the code, with the attributes behind them."""
    for node in ast.walk(tree):
        if (name := dotted_name(node)) is not None:
            yield name


def local_names(node: ast.AST) -> set[str]:
    """What a function calls its own: parameters and variables, which are no definitions of the file."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return set()
    inside = list(ast.walk(node))
    parameters = {each.arg for each in inside if isinstance(each, ast.arg)}
    return parameters | {each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def dotted_name(node: ast.AST) -> str | None:
    """a.b.c as text; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted_name(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def named_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """In their order."""
    of = function.args
    return [each.arg for each in (*of.posonlyargs, *of.args, *of.kwonlyargs)]


# --- following


@dataclass(frozen=True)
class Found:
    """The files of a way with the first line that counts, and the places where it takes a name that WAYS lacks."""

    files: Mapping[str, str]
    unknown: Sequence[str] = ()
    met: frozenset[str] = frozenset()  # the names of the way that are in the code


def follow(package: Package, way: Way) -> Found:
    """The files that a way leads through."""
    if way.fields:
        return of_class(package, way)
    units = package.reached(way.commands) if way.commands else set(package.units)
    files, unknown, met = dict[str, str](), list[str](), set[str]()
    for unit in package.units:
        if unit not in units or unit[1] in way.apart:
            continue
        for body in package.units[unit]:
            reader = _Reader(package, unit[0], way)
            reader.visit(body)
            if reader.hits:
                files.setdefault(unit[0], min(reader.hits)[1])
            unknown += [f"{unit[0]}:{line}" for line in reader.unknown]
            met |= reader.met
    if not files:
        raise SystemExit(
            f"nothing in the code is named {', '.join(sorted(way.names))}: {way.title} has other names now"
        )
    return Found(dict(sorted(files.items())), sorted(set(unknown)), frozenset(met))


class _Reader(ast.NodeVisitor):
    """Where a definition names a thing, and where it hands it on under another name."""

    def __init__(self, package: Package, file: str, way: Way) -> None:
        self.package, self.file, self.way = package, file, way
        self.names, self.keys = way.names, way.keys
        self.hits: list[tuple[int, str]] = []
        self.met: set[str] = set()
        self.unknown: list[str] = []
        self.functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []

    def hit(self, node: ast.AST, what: str, name: str = "") -> None:
        self.met |= {name} - {""}
        line = getattr(node, "lineno", 0)
        self.hits.append((line, f"{line}: {what}"))

    def handed(self, node: ast.AST, name: str, value: ast.AST) -> None:
        """`name` gets `value`: an open question if one of them is the thing, and the other has a name of its own."""
        known = name in self.names | self.keys
        other = value.id if isinstance(value, ast.Name) else getattr(value, "attr", "")
        comes = known and other and not self.is_thing(value) and other not in self.way.beyond
        goes = self.is_thing(value) and not known and name not in self.way.beyond
        if comes or goes:
            self.unknown.append(f"{getattr(node, 'lineno', 0)}: {name} = {ast.unparse(value)}")

    def is_thing(self, node: ast.AST) -> bool:
        if isinstance(node, ast.Name):
            return node.id in self.names
        if isinstance(node, ast.Attribute):
            return node.attr in self.names
        if isinstance(node, ast.Subscript):
            return self.is_thing(node.value) or (isinstance(node.slice, ast.Constant) and node.slice.value in self.keys)
        return False

    def key(self, node: ast.AST | None) -> None:
        """A string in the place of a key."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.removeprefix("--").replace("-", "_")
            if name in self.keys:
                self.hit(node, repr(node.value), name)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        before = self.names, self.keys
        of = node.args
        for each in (*of.posonlyargs, *of.args, *of.kwonlyargs):
            if each.arg in self.way.options and each.annotation is not None and ast.unparse(each.annotation) == "str":
                self.names -= {each.arg}
        self.functions.append(node)
        self.generic_visit(node)
        self.functions.pop()
        self.names, self.keys = before

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_arg(self, node: ast.arg) -> None:
        if node.arg in self.names:
            self.hit(node, f"parameter {node.arg}", node.arg)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.names:
            self.hit(node, node.id, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in self.names and not self.is_module(node.value):
            self.hit(node, ast.unparse(node), node.attr)
        self.generic_visit(node)

    def is_module(self, node: ast.AST) -> bool:
        """`intervals.bootstrap` is a function, which is named by what is handed to it."""
        name = dotted_name(node)
        return name is not None and self.package.imported[self.file].get(name) in self.package.modules

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        field = "" if self.functions else getattr(node.target, "id", "")
        if field in self.way.options and ast.unparse(node.annotation) == "str":
            return
        if node.value is not None:
            self.targets(node, [node.target], node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.targets(node, node.targets, node.value)
        self.generic_visit(node)

    def targets(self, node: ast.AST, targets: Sequence[ast.AST], value: ast.AST) -> None:
        for target in targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
                for one, other in zip(target.elts, value.elts, strict=True):
                    self.targets(node, [one], other)
            elif isinstance(target, ast.Name | ast.Attribute):
                self.handed(node, target.id if isinstance(target, ast.Name) else target.attr, value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.key(node.slice)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            self.key(key)
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                self.handed(node, key.value, value)
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple | ast.List | ast.Set) -> None:
        for each in node.elts:
            self.key(each)
        self.generic_visit(node)

    visit_List = visit_Set = visit_Tuple

    def visit_Compare(self, node: ast.Compare) -> None:
        sides = [node.left, *node.comparators]
        named = {name.rpartition(".")[2] for side in sides if (name := dotted_name(side)) is not None}
        constants = [side for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
        if named & self.way.choices or (named & self.way.options and constants):
            return  # the choice of a word
        for side in sides:
            self.key(side)
        self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> None:
        if node.arg in self.way.choices:
            return
        if node.arg in self.names and not only_words(node.value):
            self.hit(node.value, f"{node.arg}=", node.arg)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = dotted_name(node.func)
        known = self.package.parameters(self.file, name) if name is not None else None
        apart = name is not None and name.rpartition(".")[2] in self.way.apart
        for place, each in enumerate(node.args):
            self.key(each)
            if not apart and known is not None and place < len(known) and not isinstance(each, ast.Starred):
                self.handed(node, known[place], each)
        for keyword in node.keywords:
            if keyword.arg is not None and not apart:
                self.handed(node, keyword.arg, keyword.value)
            elif (
                keyword.arg is None
                and self.names - self.way.options & set(known or ())
                and self.is_own_rest(keyword.value)
            ):
                self.hit(node, f"**{ast.unparse(keyword.value)} to {name}")
        self.generic_visit(node)

    def is_own_rest(self, node: ast.AST) -> bool:
        """Whether it is the `**options` of the function that this stands in."""
        rest = self.functions[-1].args.kwarg if self.functions else None
        return rest is not None and isinstance(node, ast.Name) and node.id == rest.arg


def only_words(node: ast.AST) -> bool:
    """A string, or one of two."""
    if isinstance(node, ast.IfExp):
        return only_words(node.body) and only_words(node.orelse)
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def of_class(package: Package, way: Way) -> Found:
    """The files that name a class, or protocol, with half of these fields or more."""
    enough = len(way.fields) / 2
    classes = {unit for unit, body in package.units.items() if len(declared(body[0]) & way.fields) >= enough}
    if not classes:
        raise SystemExit(f"{way.title}: no class has half of its fields")
    files: dict[str, str] = {}
    for file, tree in package.trees.items():
        for dotted in dotted_names(tree):
            unit = package.unit(file, dotted)
            if unit in classes:
                files.setdefault(file, unit[1])
    # strings that name it for an import when it is used
    files |= {unit[0]: unit[1] for unit in classes}
    for file, tree in package.trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in {name for _, name in classes}:
                files.setdefault(file, str(node.value))
    return Found(dict(sorted(files.items())))


def declared(node: ast.stmt) -> set[str]:
    """The fields, and properties, of a class."""
    if not isinstance(node, ast.ClassDef):
        return set()
    annotated = [each.target for each in node.body if isinstance(each, ast.AnnAssign)]
    properties = {each.name for each in node.body if isinstance(each, ast.FunctionDef) and each.decorator_list}
    return properties | {each.id for each in annotated if isinstance(each, ast.Name)}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", metavar="REV", default=BEFORE, help="default: %(default)s")
    parser.add_argument("--after", metavar="REV", help="default: the working tree")
    parser.add_argument("-v", "--verbose", action="store_true", help="the files too, each with its first line")
    options = parser.parse_args()
    packages = [Package(sources(revision)) for revision in (options.before, options.after)]
    print(f"{'files that know of':20}{'before':>8}{'after':>8}{'ratio':>8}   goal {GOAL}")
    open_questions = 0
    for way in WAYS:
        before, after = (follow(package, way) for package in packages)
        ratio = len(after.files) / len(before.files)
        met = "met" if ratio <= GOAL else "MISSED"
        print(f"{way.title:20}{len(before.files):8}{len(after.files):8}{ratio:8.2f}   {met}")
        if options.verbose:
            for file in sorted({**before.files, **after.files}):
                marks = "".join(mark if file in side.files else " " for mark, side in (("b", before), ("a", after)))
                print(f"    {marks}  {file}:{after.files.get(file) or before.files[file]}")
        for name, found in (("before", before), ("after", after)):
            open_questions += len(found.unknown)
            for place in found.unknown:
                print(f"    {name}: under a name that WAYS lacks: {place}")
        for word in sorted(before.met - after.met - way.gone):
            open_questions += 1
            print(f"    after: no {word} in the code: what is its name now? WAYS is to have it, or that it is gone")
    return int(open_questions > 0)


if __name__ == "__main__":
    sys.exit(main())

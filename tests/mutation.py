"""Mutation testing of the rules about money: python -m tests.mutation [MODULE ...] [--keep DIR]

Plants one small fault after another (mutmut does) and runs the fast tests of the core on each:
a fault that no test notices is a survivor, and is printed as a diff.

Shapes  works in a copy in a temporary folder, one process, niced; nothing here is touched.
        MODULES are mutated, or those named. State machines are left out, they take too long for
        a thousand runs: what they alone would notice counts as a survivor, so the true figure is
        a little better.
        mutmut leaves decorated functions alone, and what a payment adds up to are properties; so
        in the copy `@property def seen` becomes `seen = property(_read_seen)`, which it mutates.
        Ends with one line of JSON: mutants, killed, survived, killed_percent, seconds.
Errors  exit status 1 below KILLED_PERCENT_MIN.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

MODULES = ("money", "matching", "payment", "payment_state", "refund", "journal")
KILLED_PERCENT_MIN = 85.0
HERE = Path(__file__).resolve().parent.parent
KILLED = {1, 3}  # exit codes of pytest: a test failed; or none could even be collected
TIMED_OUT = {24, 36, -24, 152, 255}
UNSEEN = {5, 33}  # no test runs this function at all


def copy(folder: Path, modules: tuple[str, ...]) -> None:
    for name in ("domain", "application", "tests/domain", "tests/golden"):
        shutil.copytree(HERE / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "tests/given.py", "tests/examples.py"):
        shutil.copy(HERE / name, folder / name)
    for name in modules:
        path = folder / "domain" / f"{name}.py"
        path.write_text(unfolded(path.read_text(encoding="utf-8")), encoding="utf-8")
    (folder / "setup.cfg").write_text(config(modules, fast_tests(folder)), encoding="utf-8")


def fast_tests(folder: Path) -> list[str]:
    files = sorted((folder / "tests" / "domain").glob("test_*.py"))
    return [
        str(path.relative_to(folder)) for path in files if not path.stem.endswith("_properties")
    ]


def unfolded(source: str) -> str:
    """Every `@property def name` as a function and `name = property(function)` after it."""
    lines = source.splitlines()
    for node in sorted(_properties(source), key=lambda node: node.lineno, reverse=True):
        assert node.end_lineno is not None
        indent = " " * node.col_offset
        lines.insert(node.end_lineno, f"{indent}{node.name} = property(_read_{node.name})")
        at = node.lineno - 1
        lines[at] = lines[at].replace(f"def {node.name}(", f"def _read_{node.name}(")
        del lines[at - 1]
    return "\n".join(lines) + "\n"


def _properties(source: str) -> list[ast.FunctionDef]:
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef)
        and [getattr(each, "id", "") for each in node.decorator_list] == ["property"]
    ]


def config(modules: tuple[str, ...], tests: list[str]) -> str:
    def lines(values: list[str]) -> str:
        return "".join(f"\n    {value}" for value in values)

    options = ["-q", "-x", "-p", "no:cacheprovider", "--hypothesis-profile=mutation"]
    return (
        "[mutmut]\n"
        "source_paths=domain\n"
        f"only_mutate={lines([f'domain/{name}.py' for name in modules])}\n"
        f"also_copy={lines(['application', 'tests'])}\n"
        f"pytest_add_cli_args={lines(options)}\n"
        f"pytest_add_cli_args_test_selection={lines(tests)}\n"
    )


def exit_codes(folder: Path, modules: tuple[str, ...]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for name in modules:
        meta = folder / "mutants" / "domain" / f"{name}.py.meta"
        found |= json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def verdict(code: int | None) -> str:
    if code in KILLED:
        return "killed"
    if code in TIMED_OUT:
        return "timed out"
    if code in UNSEEN:
        return "unseen"
    return "survived" if code == 0 else f"not judged ({code})"


def main() -> int:
    parser = argparse.ArgumentParser(description="Mutation testing of the rules about money.")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--keep", type=Path, help="work in this folder, and keep it")
    given = parser.parse_args()
    modules = tuple(given.modules)
    folder = given.keep or Path(tempfile.mkdtemp(prefix="gateway-mutants-"))
    begun = time.monotonic()
    try:
        copy(folder, modules)
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1"]
        with (folder / "mutmut.log").open("wb") as log:
            subprocess.run(
                command, cwd=folder, stdout=log, stderr=log, check=False, preexec_fn=_polite
            )
        codes = exit_codes(folder, modules)
        for name, code in sorted(codes.items()):
            if verdict(code) not in {"killed", "timed out"}:
                sys.stdout.write(f"\n{verdict(code)}: {name}\n")
                sys.stdout.flush()
                show = [sys.executable, "-m", "mutmut", "show", name]
                subprocess.run(show, cwd=folder, check=False)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return report(codes, time.monotonic() - begun)


def _polite() -> None:
    os.nice(19)


def report(codes: dict[str, int | None], seconds: float) -> int:
    counts = Counter(verdict(code) for code in codes.values())
    killed = counts["killed"] + counts["timed out"]
    percent = round(100 * killed / max(1, len(codes)), 1)
    line = {
        "mutants": len(codes),
        **{name.replace(" ", "_"): count for name, count in sorted(counts.items())},
        "killed_percent": percent,
        "seconds": round(seconds),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    return 0 if percent >= KILLED_PERCENT_MIN else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a refused command prints."""

from pathlib import Path

from mmrl.cli import main

PREFIX = "mmrl: error: "


def refused(capsys, *argv: str) -> list[str]:
    """The messages of a command that must end with code 2 and say nothing else on stderr."""
    capsys.readouterr()
    code = main(list(argv))
    lines = capsys.readouterr().err.splitlines()
    assert code == 2, lines
    assert lines
    assert all(line.startswith(PREFIX) for line in lines), lines
    return [line.removeprefix(PREFIX) for line in lines]


def content(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if "__pycache__" not in path.parts}

"""Draws docs/rooms.svg: mmrl's rooms on their floors, and the imports between them.

    python -m benchmarks.house_picture

Every arrow points down or sideways: `tests/mmrl/test_rooms.py` refuses an import that runs back up, and a picture
that is not of today's imports.
"""

from __future__ import annotations

from benchmarks.house_imports import FLOORS, arrows, modules
from benchmarks.quickstart_arms import ROOT

PAGE = ROOT / "docs" / "rooms.svg"
ABOUT = {
    "contracts": "the words as frozen types, Protocols, errors",
    "recipe": "all that is known before torch loads",
    "policies": "models behind adapters",
    "objectives": "between trajectories and the gradient",
    "data": "sources of rows to samples",
    "rollouts": "samples to groups",
    "evaluation": "held-out figures",
    "engines": "what samples from a policy",
    "environments": "worlds for conversations",
    "parallel": "processes that train together",
    "tracking": "figures, files, the report",
    "trainer": "the loop, steps, checkpoints",
    "setup": "opens a run",
    "run": "train() and evaluate()",
    "commands": "the command line",
}
WIDTH, ROW, BOX = 1180, 96, 46


def rooms_now() -> tuple[list[list[str]], set[tuple[str, str]]]:
    """(floors from the top down, each a list of rooms that exist; arrows between different rooms)."""
    imports = arrows(modules(ROOT))
    exist = {name.split(".")[1] for name in imports if "." in name}
    floors = [[room for room in floor if room in exist and room in ABOUT] for floor in reversed(FLOORS)]
    pairs = {
        (module.split(".")[1], other.split(".")[1])
        for module, others in imports.items()
        for other in others
        if "." in module and "." in other
    }
    return [floor for floor in floors if floor], {(a, b) for a, b in pairs if a != b and {a, b} <= ABOUT.keys()}


def picture() -> str:
    """The SVG's text."""
    floors, pairs = rooms_now()
    place = {}
    for number, floor in enumerate(floors):
        width = min(270, (WIDTH - 40) / len(floor) - 24)
        start = (WIDTH - len(floor) * (width + 24) + 24) / 2
        for i, room in enumerate(floor):
            place[room] = (start + i * (width + 24), 20 + number * ROW, width)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {20 + len(floors) * ROW}" '
        'font-family="system-ui, sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8a94a6"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{20 + len(floors) * ROW}" fill="#ffffff"/>',
    ]
    lines += [_arrow(place[importer], place[imported]) for importer, imported in sorted(pairs)]
    lines += [_room(room, *place[room]) for room in place]
    return "\n".join([*lines, "</svg>", ""])


def _arrow(box_from: tuple[float, float, float], box_to: tuple[float, float, float]) -> str:
    (x, y, width), (to_x, to_y, to_width) = box_from, box_to
    if y == to_y:
        left = x > to_x
        start, end = (x, to_x + to_width) if left else (x + width, to_x)
        middle = y + BOX / 2
        far = abs(start - end) > 40
        bend = f"C{start:.0f} {middle - 60:.0f} {end:.0f} {middle - 60:.0f}" if far else "L"
        path = f"M{start:.0f} {middle:.0f}{bend} {end:.0f} {middle:.0f}"
        if far:
            path = (
                f"M{x + width / 2:.0f} {y}C{x + width / 2:.0f} {y - 34} {to_x + to_width / 2:.0f} {y - 34} "
                f"{to_x + to_width / 2:.0f} {y}"
            )
    else:
        start, end = x + width / 2, to_x + to_width / 2
        half = (to_y - y - BOX) / 2
        path = f"M{start:.0f} {y + BOX}C{start:.0f} {y + BOX + half:.0f} {end:.0f} {to_y - half:.0f} {end:.0f} {to_y}"
    return f'<path d="{path}" fill="none" stroke="#8a94a6" stroke-width="1.1" opacity="0.6" marker-end="url(#tip)"/>'


def _room(room: str, x: float, y: float, width: float) -> str:
    middle = x + width / 2
    return (
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="7" fill="#eef3fb" stroke="#3b5b92"/>'
        f'<text x="{middle:.0f}" y="{y + 19}" text-anchor="middle" font-size="14" font-weight="600">{room}</text>'
        f'<text x="{middle:.0f}" y="{y + 36}" text-anchor="middle" font-size="11" fill="#445">{ABOUT[room]}</text>'
    )


if __name__ == "__main__":
    PAGE.write_text(picture())
    print(f"wrote {PAGE}")

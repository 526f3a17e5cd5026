"""Tree edit distance and TEDS against a recursive definition, APTED and PubTabNet's published score."""

import random
from functools import lru_cache

import numpy as np
import pytest

from vision_rewards import metrics


def random_tree(rng, size):
    """Nested (label, children) tuples with `size` nodes."""
    children = [[] for _ in range(size)]
    for node in range(1, size):
        children[rng.randrange(max(0, node - rng.choice([1, 3, 50])), node)].append(node)
    labels = [rng.randrange(4) for _ in range(size)]

    def build(node):
        return labels[node], tuple(build(child) for child in children[node])

    return build(0)


def random_table(rng):
    """A root over one to four rows of up to five cells."""
    rows = [tuple((rng.choice([2, 3]), ()) for _ in range(rng.randrange(6))) for _ in range(rng.randrange(1, 5))]
    return 0, tuple((1, row) for row in rows)


def postorder(tree):
    labels, sizes = [], []

    def visit(node):
        size = 1 + sum(map(visit, node[1]))
        labels.append(node[0])
        sizes.append(size)
        return size

    visit(tree)
    return labels, sizes


def recursive_distance(first, second, rename):
    """Tai's definition by forests: delete or insert the last root, or match the last roots."""

    @lru_cache(None)
    def forests(one, two):
        if not one or not two:
            return float(sum(len(postorder(tree)[0]) for tree in one or two))
        (label, below), (other, other_below) = one[-1], two[-1]
        return min(
            forests(one[:-1] + below, two) + 1,
            forests(one, two[:-1] + other_below) + 1,
            forests(one[:-1], two[:-1]) + forests(below, other_below) + rename[label][other],
        )

    return forests((first,), (second,))


def own_distance(first, second, rename):
    (labels, sizes), (other_labels, other_sizes) = postorder(first), postorder(second)
    costs_NM = np.array([[rename[a][b] for b in other_labels] for a in labels])
    return metrics.tree_edit_distance(sizes, other_sizes, costs_NM)


def costs(rng, kind):
    if kind == "unit":
        return [[float(a != b) for b in range(4)] for a in range(4)]
    if kind == "table":
        part = rng.random()
        return [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, part], [1, 1, part, 0]]
    # Not symmetric, not 0 for equal labels, some dearer than a deletion and an insertion.
    return [[2.5 * rng.random() for _ in range(4)] for _ in range(4)]


@pytest.mark.parametrize("kind", ["unit", "table", "any"])
def test_tree_distance_equals_the_definition(kind):
    rng = random.Random(0)
    for _ in range(120):
        rename = costs(rng, kind)
        first, second = (random_tree(rng, rng.randrange(1, 11)) for _ in range(2))
        expected = recursive_distance(first, second, rename)
        assert own_distance(first, second, rename) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", ["chain", "comb", "star"])
def test_extreme_trees(shape):
    def grow(size):
        tree = (0, ())
        for _ in range(size - 1):
            below = {"chain": (tree,), "comb": ((1, ()), tree), "star": (*tree[1], (1, ()))}[shape]
            tree = (0, below)
        return tree

    unit = costs(None, "unit")
    for first, second in ((1, 1), (1, 6), (6, 1), (4, 7), (7, 7)):
        one, two = grow(first), grow(second)
        assert own_distance(one, two, unit) == recursive_distance(one, two, unit)
        assert own_distance(one, random_tree(random.Random(1), 6), unit) == recursive_distance(
            one, random_tree(random.Random(1), 6), unit
        )


class Node:
    """A node as the apted package reads it."""

    def __init__(self, label, children):
        self.label, self.children = label, children


def apted_distance(first, second, rename):
    apted = pytest.importorskip("apted", reason="apted is a development dependency")

    class Costs(apted.Config):
        def rename(self, one, two):
            return weights(one.label, two.label)

        def children(self, node):
            return node.children

    weights = rename
    return apted.APTED(first, second, Costs()).compute_edit_distance()


def test_tree_distance_agrees_with_apted_on_tables():
    def node(tree):
        return Node(tree[0], [node(child) for child in tree[1]])

    rng = random.Random(2)
    for _ in range(150):
        rename = costs(rng, "table")
        first, second = random_table(rng), random_table(rng)
        expected = apted_distance(node(first), node(second), lambda one, two, table=rename: table[one][two])
        assert own_distance(first, second, rename) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("first", "second"), [([], [1]), ([1], []), ([1] * 4001, [1])])
def test_trees_that_cannot_be_compared(first, second):
    with pytest.raises(ValueError, match="1 to 4000"):
        metrics.tree_edit_distance(first, second, np.zeros((len(first), len(second))))


# The pair of PubTabNet's demonstration and the score printed there.
PREDICTED = (
    "<html><body><table><thead><tr><td><b>Name of algori</b></td><td><b>Notablefeatures</b></td></tr></thead><tbody>"
    "<tr><td>MACS [23]</td><td>Uses both a control library and local statistics to minimize bias</td></tr>"
    "<tr><td>SICER [15]</td><td>Designed for detecting diffusely enriched regions; for example, histone modification"
    "</td></tr><tr><td>PeakSEQ [24]</td><td>Corrects for reference genome mappability and local statistics</td></tr>"
    "<tr><td>SISSRs [25]</td><td>High resolution, precise identification of binding-site location</td></tr>"
    "<tr><td>F-seq [26]</td><td>Uses kernel density estimation</td></tr></tbody></table></body></html>"
)
ACTUAL = (
    PREDICTED.replace("algori<", "algorithm<")
    .replace("Notablefeatures", "Notable features")
    .replace("[15]", "[14]")
    .replace("PeakSEQ", "PeakSeq")
)


def test_published_teds():
    assert metrics.teds_pubtabnet(PREDICTED, ACTUAL) == pytest.approx(0.9781765018607124, abs=1e-9)
    assert metrics.teds_pubtabnet(PREDICTED, ACTUAL, structure_only=True) == 1
    # Without the groups and the marks: 17 characters of 19, 15 of 16, 9 of 10 and 10 of 12 are right; 18 nodes.
    lost = 3 / 17 + 1 / 16 + 1 / 10 + 2 / 12
    assert metrics.teds(PREDICTED, ACTUAL) == pytest.approx(1 - lost / 18, abs=1e-9)


def page(body):
    return f"<html><body><table>{body}</table></body></html>"


ROW = "<tr><td>x</td></tr>"


@pytest.mark.parametrize(
    ("prediction", "target", "script", "own"),
    [
        # The script reads nothing in header cells.
        (page("<tr><th>x</th></tr>"), page("<tr><th>y</th></tr>"), 1, 1 / 2),
        (page("<tr><th>x</th></tr>"), page(ROW), 1 / 2, 1),
        # Three empty groups against one row: five edits of at most three nodes.
        (page("<thead></thead><tbody></tbody><tfoot></tfoot>"), page(ROW), 1 - 4 / 3, 0),
        (page(f"<tbody>{ROW}</tbody>"), page(ROW), 1 - 1 / 3, 1),
        (f"<table>{ROW}</table>", page(ROW), 0, 1),
        (page("<tr><td><b>x</b></td></tr>"), page(ROW), 1 - (2 / 3) / 3, 1),
        (page(ROW) + page(ROW), page(ROW), 1, 0),
        (page(""), page(""), 1, 0),
        ("", page(ROW), 0, 0),
        (page('<tr><td colspan="2">x</td></tr>'), page(ROW), 1 / 2, 1 / 2),
    ],
)
def test_teds_and_the_script_differ_where_documented(prediction, target, script, own):
    assert metrics.teds_pubtabnet(prediction, target) == pytest.approx(script, abs=1e-9)
    assert metrics.teds(prediction, target) == pytest.approx(own, abs=1e-9)


def test_spans_that_are_no_numbers():
    odd = page('<tr><td colspan="x">x</td></tr>')
    with pytest.raises(ValueError, match="invalid literal"):
        metrics.teds_pubtabnet(odd, page(ROW))
    assert metrics.teds(odd, page(ROW)) == 1


def script_tree(element):
    """PubTabNet's tree of an lxml element: ((tag, spans), tokens of a cell) as labels."""

    def tokens(node):
        inner = list(node.text or "")
        for child in node:
            inner += [f"<{child.tag}>", *tokens(child), f"</{child.tag}>", *(child.tail or "")]
        return inner

    if element.tag == "td":
        spans = element.get("colspan", "1"), element.get("rowspan", "1")
        return Node((("td", *map(int, spans)), tokens(element)), [])
    return Node(((element.tag,), []), [script_tree(child) for child in element])


def script_rename(one, two):
    if one[0] != two[0]:
        return 1.0
    longest = max(len(one[1]), len(two[1]))
    row = list(range(len(two[1]) + 1))
    for i, x in enumerate(one[1], 1):
        above, row = row, [i]
        for j, y in enumerate(two[1], 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (x != y)))
    return row[-1] / longest if longest else 0.0


def script_teds(prediction, target):
    """PubTabNet's definition with APTED."""
    from lxml import html

    first, second = (html.fromstring(text).xpath("body/table")[0] for text in (prediction, target))
    nodes = max(len(table.xpath(".//*")) for table in (first, second))
    return 1 - apted_distance(script_tree(first), script_tree(second), script_rename) / nodes


def test_the_script_agrees_with_apted_on_random_tables():
    rng = random.Random(3)
    texts = ["", "a", "ab", "12.5", "<b>x</b>", "a<i>b</i>c", "long text here"]

    def random_page():
        rows = []
        for _ in range(rng.randrange(1, 5)):
            spans = ["", ' colspan="2"', ' rowspan="3"']
            cells = [f"<td{rng.choices(spans, [6, 1, 1])[0]}>{rng.choice(texts)}</td>" for _ in range(rng.randrange(5))]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        head = rng.randrange(len(rows) + 1)
        return page(f"<thead>{''.join(rows[:head])}</thead><tbody>{''.join(rows[head:])}</tbody>")

    for _ in range(60):
        prediction, target = random_page(), random_page()
        assert metrics.teds_pubtabnet(prediction, target) == pytest.approx(script_teds(prediction, target), abs=1e-9)
        assert 0 <= metrics.teds(prediction, target) <= 1

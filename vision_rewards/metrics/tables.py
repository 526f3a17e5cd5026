"""TEDS: similarity of tables by tree edit distance (Zhong et al. 2020)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from vision_rewards.metrics.trees import tree_edit_distance
from vision_rewards.parsers.tables import TableTree, parse_table


def teds(prediction: str, target: str, *, structure_only: bool = False, sections: bool = False) -> float:
    """Tree-edit-distance similarity of two HTML tables, in [0, 1]; 0 where either has no table, several, or no cell.

    TEDS = 1 − distance / max(n, m) with n, m the nodes below the table; renaming a cell costs the normalised edit
    distance of the texts, or 1 where tags or spans differ. Against PubTabNet's script (`teds_pubtabnet`): `<th>` is a
    `<td>`, whose text then counts; tags inside cells do not; `<thead>` and `<tbody>` only count with `sections`;
    neither `<html><body>` around the table nor a number in `colspan` is demanded; nothing is below 0.

    Args:
        prediction: HTML with one table of at most `MAX_TABLE_NODES` nodes.
        target: the same.
        structure_only: TEDS-S, which ignores the texts.
        sections: keep header, body and footer groups as nodes.
    """
    first, second = (parse_table(html, sections=sections)[0] for html in (prediction, target))
    return 0.0 if first is None or second is None else table_similarity(first, second, structure_only=structure_only)


def table_similarity(first: TableTree, second: TableTree, *, structure_only: bool = False) -> float:
    """`teds` of two tables that have been read."""
    same_NM = _same_kind(first, second)
    texts = None if structure_only else (first.texts, second.texts)
    # The tables themselves are the roots; they always match.
    distance = _distance(first.sizes, second.sizes, same_NM, texts)
    return min(1.0, max(0.0, 1.0 - distance / max(len(first.sizes), len(second.sizes))))


def _same_kind(first: TableTree, second: TableTree) -> np.ndarray:
    kinds: dict[tuple, int] = {}
    codes_N, codes_M = (
        np.array([kinds.setdefault(kind, len(kinds)) for kind in zip(tree.tags, tree.spans)])
        for tree in (first, second)
    )
    return codes_N[:, None] == codes_M[None, :]


def _distance(sizes, other_sizes, same_NM: np.ndarray, texts: tuple[Sequence, Sequence] | None) -> float:
    rename_NM = np.ones((len(sizes) + 1, len(other_sizes) + 1))
    rename_NM[:-1, :-1] = ~same_NM if texts is None else np.where(same_NM, text_distances(*texts), 1.0)
    rename_NM[-1, -1] = 0.0
    return tree_edit_distance((*sizes, len(sizes) + 1), (*other_sizes, len(other_sizes) + 1), rename_NM)


def text_distances(first: Sequence[Sequence[Hashable]], second: Sequence[Sequence[Hashable]]) -> np.ndarray:
    """Levenshtein distance / length of the longer, of every pair: float64 [N, M] in [0, 1]; 0 of two empty ones."""
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    # Cells repeat much: each distinct text is compared once.
    (unique_U, index_N), (unique_V, index_M) = _unique(first), _unique(second)
    edits_UV = cdist(unique_U, unique_V, scorer=Levenshtein.distance, dtype=np.int32)
    longest_UV = np.maximum.outer([len(text) for text in unique_U], [len(text) for text in unique_V])
    return (edits_UV / np.maximum(longest_UV, 1))[np.ix_(index_N, index_M)]


def _unique(texts: Sequence) -> tuple[list, list[int]]:
    numbers: dict = {}
    index = [numbers.setdefault(text, len(numbers)) for text in texts]
    return list(numbers), index


def teds_pubtabnet(prediction: str, target: str, *, structure_only: bool = False) -> float:
    """TEDS as PubTabNet's script computes it: for its numbers, not for training.

    Both must be whole pages, `<html><body><table>…`, else 0. Only `<td>` has text, with the tags inside as one token
    each; `<th>` cells with different texts are alike. The denominator counts every element below the table, also those
    inside cells, and not the table, so that a score can be negative. The first of several tables counts.

    Raises:
        ValueError: a span that is not a number, or a table of more than 4000 nodes.
    """
    from lxml import etree, html

    if not prediction or not target:
        return 0.0
    pages = []
    for text in (prediction, target):
        parser = html.HTMLParser(remove_comments=True, encoding="utf-8")
        try:
            tables = html.fromstring(text.encode("utf-8"), parser=parser).xpath("body/table")
        except etree.ParserError:
            return 0.0
        if not tables:
            return 0.0
        pages.append(tables[0])
    most = max(len(table.xpath(".//*")) for table in pages)
    (kinds, sizes, texts), (other_kinds, other_sizes, other_texts) = map(_script_nodes, pages)
    rename_NM = np.array([[float(kind != other) for other in other_kinds] for kind in kinds])
    if not structure_only:
        rename_NM = np.where(rename_NM > 0, 1.0, text_distances(texts, other_texts))
    return 1.0 - tree_edit_distance(sizes, other_sizes, rename_NM) / most if most else 1.0


def _script_nodes(table) -> tuple[list[tuple], list[int], list[tuple[str, ...]]]:
    """(tag and spans, subtree size, tokens) of each node of the script's tree, in postorder, the table last."""
    kinds, sizes, texts = [], [], []
    for size, node in _postorder(table):
        is_cell = node.tag == "td"
        spans = tuple(int(node.get(span, "1")) for span in ("colspan", "rowspan")) if is_cell else ()
        kinds.append((node.tag, *spans))
        sizes.append(size)
        texts.append(tuple(_tokens(node)[1:-1]) if is_cell else ())
    return kinds, sizes, texts


def _postorder(node) -> list[tuple[int, object]]:
    below = [] if node.tag == "td" else [entry for child in node for entry in _postorder(child)]
    return [*below, (len(below) + 1, node)]


def _tokens(node) -> list[str]:
    tokens = [f"<{node.tag}>", *(node.text or "")]
    for child in node:
        tokens += _tokens(child)
    if node.tag != "unk":
        tokens.append(f"</{node.tag}>")
    return tokens if node.tag == "td" else tokens + list(node.tail or "")

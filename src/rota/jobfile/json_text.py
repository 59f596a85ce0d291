"""JSON text → tree with places. Tried first on what begins with a brace; what is not JSON may still be YAML."""

import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in fact, missing in the stubs
from typing import Final

from rota.jobfile.document import (
    MOST_DEPTH,
    MOST_NODES,
    Entry,
    Mapping,
    Node,
    Scalar,
    Sequence,
    Unreadable,
    checked_number,
    plain_value,
)
from rota.jobfile.problems import Problems

_SPACE: Final = re.compile(r"[ \t\r\n]*")
_WORD: Final = re.compile(r"-?[0-9][0-9.eE+-]*|true|false|null|-?Infinity|NaN", re.ASCII)


class NotJson(Exception):
    """The text breaks JSON's syntax at `index`."""

    def __init__(self, message: str, index: int) -> None:
        super().__init__(message)
        self.message = message
        self.index = index


def compose_json(text: str, problems: Problems) -> Node:
    """The tree of a JSON text; raise NotJson on broken syntax and Unreadable when a limit is passed."""
    reader = _Reader(text, problems)
    index = reader.skip(0)
    node, index = reader.value(index, 1)
    index = reader.skip(index)
    if index != len(text):
        raise NotJson("there is more text after the end", index)
    return node


class _Reader:
    """Reads values recursively; the limit of depth keeps that safe."""

    def __init__(self, text: str, problems: Problems) -> None:
        self._text = text
        self._problems = problems
        self._nodes = 0

    def skip(self, index: int) -> int:
        """The index of the next character that is not white space."""
        match = _SPACE.match(self._text, index)
        return match.end() if match else index

    def value(self, index: int, depth: int) -> tuple[Node, int]:
        """The value that begins at `index`, and the index behind it."""
        self._nodes += 1
        if depth > MOST_DEPTH or self._nodes > MOST_NODES:
            code = "E0109" if depth > MOST_DEPTH else "E0102"
            limit = f"nested more than {MOST_DEPTH} levels deep" if depth > MOST_DEPTH else "too large"
            self._problems.add(code, f"the file is {limit}", index)
            raise Unreadable
        sign = self._text[index : index + 1]
        if sign == "{":
            return self._object(index, depth)
        if sign == "[":
            return self._array(index, depth)
        if sign == '"':
            return self._string(index)
        match = _WORD.match(self._text, index)
        if match is None:
            raise NotJson("a value was expected" if sign else "the text ends too early", index)
        word = match[0]
        value = float("inf") if word.endswith(("Infinity", "NaN")) else plain_value(word)
        if isinstance(value, str):
            raise NotJson(f"{word[:40]} is not a number", index)
        scalar = Scalar(value=value, text=word, start=index, end=match.end(), inner=index)
        return checked_number(scalar, self._problems), match.end()

    def _string(self, index: int) -> tuple[Scalar, int]:
        try:
            text, end = scanstring(self._text, index + 1, True)
        except ValueError as error:
            raise NotJson(str(error).split(":", maxsplit=1)[0].lower(), index) from None
        plain = self._text[index + 1 : end - 1] == text
        return Scalar(value=text, text=text, start=index, end=end, inner=index + 1 if plain else None), end

    def _array(self, start: int, depth: int) -> tuple[Node, int]:
        items: list[Node] = []
        index = self.skip(start + 1)
        if self._text[index : index + 1] == "]":
            return Sequence(items=(), start=start, end=index + 1), index + 1
        while True:
            node, index = self.value(self.skip(index), depth + 1)
            items.append(node)
            index, ended = self._next(index, "]")
            if ended:
                return Sequence(items=tuple(items), start=start, end=index), index

    def _object(self, start: int, depth: int) -> tuple[Node, int]:
        entries: dict[str, Entry] = {}
        index = self.skip(start + 1)
        if self._text[index : index + 1] == "}":
            return Mapping(entries={}, start=start, end=index + 1), index + 1
        while True:
            index = self.skip(index)
            if self._text[index : index + 1] != '"':
                raise NotJson("a key in double quotes was expected", index)
            key, index = self._string(index)
            index = self.skip(index)
            if self._text[index : index + 1] != ":":
                raise NotJson('":" was expected', index)
            node, index = self.value(self.skip(index + 1), depth + 1)
            self._add(entries, key, node)
            index, ended = self._next(index, "}")
            if ended:
                return Mapping(entries=entries, start=start, end=index), index

    def _add(self, entries: dict[str, Entry], key: Scalar, node: Node) -> None:
        first = entries.get(key.text)
        if first is None:
            entries[key.text] = Entry(key, node)
            return
        source = self._problems.source
        line = source.position(first.key.start)[0] if source else 0
        message = f'the key "{key.text[:60]}" is given twice'
        self._problems.add("E0106", message, key.start, key.end, label=f"first given in line {line}")

    def _next(self, index: int, closing: str) -> tuple[int, bool]:
        """Step over a comma or the end of a list or map."""
        index = self.skip(index)
        sign = self._text[index : index + 1]
        if sign == closing:
            return index + 1, True
        if sign == ",":
            return index + 1, False
        raise NotJson(f'"," or "{closing}" was expected' if sign else "the text ends too early", index)

"""YAML 1.2 text → tree, from the events of a parser that constructs nothing."""

import re
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from rota.jobfile.document import (
    MOST_ALIASES,
    MOST_DEPTH,
    MOST_EXPANDED,
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

# A value that YAML takes for an alias, a tag or a reserved sign where a person meant the text.
_NEEDS_QUOTES: Final = re.compile(r"""^(\s*(?:-\s+|(?:-\s+)?[\w.-]+\s*:\s+))([*@%`][^#"'\n]*?)\s*(?:\s#.*)?$""")
_IN_FLOW: Final = re.compile(r"(\$\{[^}]*\}?)")
_ALIAS: Final = re.compile(r"\*[A-Za-z][\w-]*")
# What the parser calls by names of its own, one of them at times as a tuple.
_TOKEN: Final = re.compile(r"\('<([a-z -]+)>',\)|'<([a-z -]+)>'|<([a-z -]+)>")
_TOKENS: Final = {
    "stream end": "the end of the file",
    "document start": "the start of a document",
    "document end": "the end of a document",
    "block end": "the end of the block",
    "block mapping start": "a map",
    "block sequence start": "a list",
    "block entry": "an item of a list",
    "scalar": "a value",
}


class _Open:
    """A list or map whose end has not been read yet."""

    def __init__(self, event: NodeEvent, *, is_map: bool) -> None:
        self.start = event.start_mark.index
        self.anchor: str | None = event.anchor
        self.is_map = is_map
        self.items: list[Node] = []
        self.entries: dict[str, Entry] = {}
        self.key: Node | None = None
        self.size = 1


class _Composer:
    """Builds the tree event by event, without recursion."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliases = 0
        self._expanded = 0
        self._nodes = 0
        self._documents = 0
        self.root: Node | None = None

    def feed(self, event: Event) -> None:
        """Take the next event; raise Unreadable when a limit is passed."""
        if isinstance(event, DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._fail("E0108", "the file holds more than one document", event)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._refuse_tag(event)
            self._begin(event)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._finish(event)
        elif isinstance(event, AliasEvent):
            self._alias(event)
        elif isinstance(event, ScalarEvent):
            self._scalar(event)

    def _begin(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        self._open.append(_Open(event, is_map=isinstance(event, MappingStartEvent)))
        if len(self._open) > MOST_DEPTH:
            self._fail("E0109", f"the file is nested more than {MOST_DEPTH} levels deep", event)

    def _finish(self, event: Event) -> None:
        done = self._open.pop()
        end = event.end_mark.index
        node: Node
        if done.is_map:
            node = Mapping(entries=done.entries, start=done.start, end=end)
        else:
            node = Sequence(items=tuple(done.items), start=done.start, end=end)
        self._place(node, done.anchor, done.size, event)

    def _scalar(self, event: ScalarEvent) -> None:
        self._refuse_tag(event)
        start, end = event.start_mark.index, event.end_mark.index
        plain = event.style is None and event.tag is None
        source = self._problems.source
        inner = start if event.style is None else start + 1
        if source is not None and source.text[inner : inner + len(event.value)] != event.value:
            inner = -1
        scalar = Scalar(
            value=plain_value(event.value) if plain else event.value,
            text=event.value,
            inner=inner if inner >= 0 else None,
            start=start,
            end=end,
        )
        self._place(checked_number(scalar, self._problems), event.anchor, 1, event)

    def _alias(self, event: AliasEvent) -> None:
        self._aliases += 1
        known = self._anchors.get(event.anchor)
        if known is None:
            self._needs_quotes_or("E0110", f"there is no anchor &{event.anchor} before this alias", event)
            raise Unreadable
        node, size = known
        self._expanded += size
        if self._aliases > MOST_ALIASES:
            self._fail("E0110", f"the file uses more than {MOST_ALIASES} aliases", event)
        if self._expanded > MOST_EXPANDED:
            self._fail("E0110", f"the aliases stand for more than {MOST_EXPANDED:,} values", event)
        self._place(node, None, size, event)

    def _place(self, node: Node, anchor: str | None, size: int, event: Event) -> None:
        """Put a finished value where it belongs: a list, a key, a value, or the root."""
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._fail("E0102", f"the file holds more than {MOST_NODES:,} values", event)
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.size += size
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = node
        else:
            self._entry(parent, parent.key, node)
            parent.key = None

    def _entry(self, parent: _Open, key: Node, value: Node) -> None:
        if not isinstance(key, Scalar):
            self._problems.add("E0141", "a key must be a plain text", key.start, key.end)
            return
        first = parent.entries.get(key.text)
        if first is not None:
            line = self._line(first.key)
            self._problems.add(
                "E0106",
                f'the key "{key.text[:60]}" is given twice',
                key.start,
                key.end,
                label=f"first given in line {line}",
                help=["delete or rename one of them"],
            )
            return
        if isinstance(value, Scalar) and value.start == value.end:
            # Nothing was written: the place of nothing is its key.
            value = Scalar(value=None, text="", start=key.start, end=key.end)
        parent.entries[key.text] = Entry(key, value)

    def _line(self, node: Node) -> int:
        return self._problems.source.position(node.start)[0] if self._problems.source else 0

    def _refuse_tag(self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent) -> None:
        tag = event.tag
        if tag is None or tag in ("!", "tag:yaml.org,2002:str"):
            return
        start = event.start_mark.index
        self._problems.add(
            "E0107",
            f'the tag "{str(tag)[:60]}" is not allowed',
            start,
            min(event.end_mark.index, start + 60),
            help=["a job file is data: delete the tag, or put the value in quotes"],
        )

    def _needs_quotes_or(self, code: str, message: str, event: Event) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        if not note_missing_quotes(start, self._problems):
            self._problems.add(code, message, start, end)

    def _fail(self, code: str, message: str, event: Event) -> None:
        self._problems.add(code, message, event.start_mark.index, event.end_mark.index)
        raise Unreadable


def compose(text: str, problems: Problems) -> Node | None:
    """The tree of a YAML text; None when it is empty or unreadable, with the reason noted."""
    composer = _Composer(problems)
    parser = YAML(typ="safe", pure=True)
    try:
        for event in parser.parse(text):
            composer.feed(event)
    except Unreadable:
        return None
    except MarkedYAMLError as error:
        _note_syntax(error, text, problems)
        return None
    except (
        YAMLError,
        ValueError,
        IndexError,
        OverflowError,
        AttributeError,
        AssertionError,
        TypeError,
        KeyError,
    ) as error:
        # The parser's own slips on broken input are syntax errors to the person who wrote it.
        problems.add("E0104", f"the file is not YAML: {str(error).splitlines()[0] if str(error) else 'broken syntax'}")
        return None
    if composer.root is None and not problems.has_errors:
        problems.add("E0112", "the file is empty", help=["a job file begins with: version: 1"])
    return composer.root


def note_missing_quotes(index: int, problems: Problems) -> bool:
    """Whether the line at `index` holds a value that only lacks quotes; if so, say it."""
    source = problems.source
    if source is None:
        return False
    number, column = source.position(index)
    line = source.line(number)
    match = _NEEDS_QUOTES.match(line)
    if match is None or _ALIAS.fullmatch(match[2]):
        return _note_flow_value(line, index - column + 1, problems)
    start = index - column + 1 + match.start(2)
    value = match[2].replace("\\", "\\\\")
    problems.add(
        "E0105",
        f"the value {value} must be in quotes",
        start,
        start + len(match[2]),
        label=f'write "{value}"',
        help=[f"a value that starts with {value[0]} has a meaning of its own in YAML"],
    )
    return True


def _note_flow_value(line: str, line_start: int, problems: Problems) -> bool:
    """`{ get: https://…${due.date} }`: the brace ends the value."""
    match = _IN_FLOW.search(line)
    if match is None or "{" not in line[: match.start()].replace("${", ""):
        return False
    start = line_start + match.start()
    problems.add(
        "E0105",
        f"a value with {match[0]} inside {{ }} must be in quotes",
        start,
        start + len(match[0]),
        label="put the whole value in quotes",
        help=["inside { } the signs { } , have a meaning of their own in YAML"],
    )
    return True


def _note_syntax(error: MarkedYAMLError, text: str, problems: Problems) -> None:
    mark = error.problem_mark or error.context_mark
    index = min(mark.index, len(text)) if mark is not None else 0
    if note_missing_quotes(index, problems):
        return
    what = _TOKEN.sub(_token_words, error.problem or "broken syntax").replace("'\\n'", "the end of the line")
    hints: list[str] = []
    if "'\\t'" in what:
        what = "a tab is used for indentation"
        hints.append("YAML is indented with spaces: replace the tab")
    elif "mapping values are not allowed" in what:
        what = "a second “: ” in one line"
        hints.append("put the value in quotes, or start a new line")
    if error.context and error.context_mark is not None and problems.source is not None:
        line = problems.source.position(min(error.context_mark.index, len(text)))[0]
        hints.append(f"{error.context} that began in line {line}")
    problems.add("E0104", f"the file is not YAML: {what}", index, help=hints)


def _token_words(match: re.Match[str]) -> str:
    """A token of the parser, as people call it."""
    name = next(filter(None, match.groups()))
    return _TOKENS.get(name, f"“{name}”")

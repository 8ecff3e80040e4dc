"""Reads a policy document, YAML or JSON, that nobody has looked at yet.

Small, flat documents are enough for policies. So whatever makes YAML dangerous is refused rather
than bounded cleverly: aliases (a few lines expand to gigabytes), deep nesting (exhausts the stack),
large texts, repeated keys (readers disagree on which one counts).
"""

import json
from collections.abc import Iterable, Mapping
from typing import Final, NoReturn

import yaml

from boxwall.policy.errors import InvalidPolicy, Violation, shown

MAX_DOCUMENT: Final = 256 * 1024
"""Characters of a document."""

_MAX_DEPTH: Final = 8


def load_document(text: str) -> Mapping[str, object]:
    """The mapping that `text` holds; raise InvalidPolicy if it does not hold one."""
    if len(text) > MAX_DOCUMENT:
        _refuse(f"the document has {len(text)} characters; at most {MAX_DOCUMENT} are read")
    value = _load_json(text) if text.lstrip().startswith("{") else _load_yaml(text)
    if not isinstance(value, Mapping):
        _refuse("a policy is a mapping, such as {mode: deny-all}")
    for key in value:
        if not isinstance(key, str):
            _refuse(f"{shown(str(key))} is not text; keys of a policy are")
    return value


def _load_json(text: str) -> object:
    # YAML is not quite a superset: it refuses JSON that is indented by tabs.
    try:
        value: object = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        if isinstance(error, InvalidPolicy):
            raise
        return _load_yaml(text)
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            _refuse_repeated(key)
        found[key] = value
    return found


def _load_yaml(text: str) -> object:
    try:
        _refuse_aliases_and_depth(yaml.parse(text, Loader=yaml.SafeLoader))
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_repeated_keys(node)
        value: object = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        where = f" at line {error.problem_mark.line + 1}" if error.problem_mark else ""
        _refuse(f"the document is not YAML or JSON: {error.problem}{where}", error)
    except yaml.YAMLError as error:
        _refuse("the document is not YAML or JSON: it contains unprintable characters", error)
    # Scalars that look like a date or a number and are none, such as 2026-13-41.
    except (ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
        if isinstance(error, InvalidPolicy):
            raise
        _refuse("the document contains a value that is not what its form says", error)
    return value


def _refuse_aliases_and_depth(events: Iterable[yaml.Event]) -> None:
    depth = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            _refuse(f"aliases (*{event.anchor}) are not accepted; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH:
            _refuse(f"the document is nested more than {_MAX_DEPTH} deep")


def _refuse_repeated_keys(node: yaml.Node) -> None:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item)
    if not isinstance(node, yaml.MappingNode):
        return
    keys: set[str] = set()
    for key, value in node.value:
        _refuse_repeated_keys(value)
        if not isinstance(key, yaml.ScalarNode):
            _refuse("a key is not text; keys of a policy are")
        if key.value in keys:
            _refuse_repeated(key.value)
        keys.add(key.value)


def _refuse_repeated(key: str) -> NoReturn:
    _refuse(f"the key {shown(key)} is there more than once")


def _refuse(message: str, cause: Exception | None = None) -> NoReturn:
    raise InvalidPolicy([Violation("", message)]) from cause

import pytest

from boxwall.policy import InvalidPolicy, load_document

READ = {
    "YAML": "mode: custom\nallowed_domains:\n  - a.test\n",
    "YAML in flow style": "{mode: custom, allowed_domains: [a.test]}",
    "JSON": '{"mode": "custom", "allowed_domains": ["a.test"]}',
    "JSON indented by tabs": '{\n\t"mode": "custom",\n\t"allowed_domains": ["a.test"]\n}',
}


@pytest.mark.parametrize("text", READ.values(), ids=READ)
def test_a_document_is_yaml_or_json(text: str) -> None:
    assert load_document(text) == {"mode": "custom", "allowed_domains": ["a.test"]}


BILLION_LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "empty": ("", "a policy is a mapping"),
    "a list": ("[a]", "a policy is a mapping"),
    "a text": ("deny-all", "a policy is a mapping"),
    "JSON with a repeated key": ('{"mode": "custom", "mode": "deny-all"}', "mode is there more"),
    "YAML with a repeated key": ("mode: custom\nmode: deny-all\n", "mode is there more than once"),
    "a repeated key further down": ("a:\n- x: 1\n  x: 2\n", "x is there more than once"),
    "aliases": (BILLION_LAUGHS, "aliases (*a) are not accepted"),
    "nested too deep": ("[" * 9 + "]" * 9, "nested more than 8 deep"),
    "JSON nested too deep": ('{"a":' * 50_000 + "1" + "}" * 50_000, "at most 262144"),
    "JSON nested within the size": ('{"a":' * 20_000 + "1" + "}" * 20_000, "nested more than 8"),
    "too large": ("#" * 300_000, "has 300000 characters; at most 262144"),
    "two documents": ("a: 1\n---\nb: 2\n", "not YAML or JSON"),
    "not YAML": ("a: [", "not YAML or JSON: "),
    "an unprintable character": ("a: \x01", "unprintable characters"),
    "a foreign tag": ("a: !!python/object:os.system x", "not YAML or JSON: could not determine"),
    "a date that is none": ("a: 2026-13-41", "a value that is not what its form says"),
    "a key that is a number": ("1: x", "1 is not text"),
    "a key that is a list": ("? [a]\n: x", "a key is not text"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_plain_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as caught:
        load_document(text)
    assert message in str(caught.value)


def test_an_error_of_form_says_the_line() -> None:
    with pytest.raises(InvalidPolicy, match="at line 3"):
        load_document("mode: custom\nallowed_domains: [\n}")

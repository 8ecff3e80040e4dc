import pytest

from boxwall.policy import (
    AllowAll,
    Custom,
    DenyAll,
    Duplicate,
    InvalidPolicy,
    Limits,
    Mode,
    PolicyFields,
    Unlisted,
    Violation,
    build_policy,
    policy_from_document,
    policy_to_document,
)


def violations(document: dict[str, object]) -> list[tuple[str, str]]:
    with pytest.raises(InvalidPolicy) as caught:
        policy_from_document(document)
    return [(violation.field, violation.message) for violation in caught.value.violations]


def test_a_document_becomes_a_policy_in_canonical_form() -> None:
    parsed = policy_from_document(
        {
            "mode": "custom",
            "allowedDomains": ["API.github.com.", "*.GitHubUserContent.com"],
            "allowed_cidrs": ("104.16.0.0/12",),
            "deniedCidrs": ["104.16.120.1"],
        }
    )
    assert policy_to_document(parsed.policy) == {
        "mode": "custom",
        "allowed_domains": ["api.github.com", "*.githubusercontent.com"],
        "allowed_cidrs": ["104.16.0.0/12"],
        "denied_cidrs": ["104.16.120.1/32"],
        "unlisted": "deny",
    }


def test_the_other_modes_need_nothing_else() -> None:
    assert policy_from_document({"mode": "allow-all"}).policy == AllowAll()
    assert policy_from_document({"mode": "deny-all"}).policy == DenyAll()
    assert policy_to_document(AllowAll()) == {"mode": "allow-all"}
    assert policy_to_document(DenyAll()) == {"mode": "deny-all"}


DENIED: list[str] = ["11.0.0.0/8"]
UNLISTED: dict[str, tuple[dict[str, object], Unlisted]] = {
    "no list": ({}, Unlisted.DENY),
    "denied only": ({"denied_cidrs": DENIED}, Unlisted.ALLOW),
    "denied only, empty": ({"denied_cidrs": []}, Unlisted.DENY),
    "domains given but empty": ({"allowed_domains": [], "denied_cidrs": DENIED}, Unlisted.DENY),
    "CIDRs given but empty": ({"allowed_cidrs": [], "denied_cidrs": DENIED}, Unlisted.DENY),
    "an allow entry": ({"allowed_domains": ["a.test"], "denied_cidrs": DENIED}, Unlisted.DENY),
    "said to deny": ({"denied_cidrs": DENIED, "unlisted": "deny"}, Unlisted.DENY),
    "said to allow": ({"unlisted": "allow", "allowed_cidrs": []}, Unlisted.ALLOW),
}


@pytest.mark.parametrize(("lists", "unlisted"), UNLISTED.values(), ids=UNLISTED)
def test_unlisted_is_allow_only_for_the_pattern_block_these_ranges(
    lists: dict[str, object], unlisted: Unlisted
) -> None:
    policy = policy_from_document({"mode": "custom", **lists}).policy
    assert isinstance(policy, Custom)
    assert policy.unlisted is unlisted


@pytest.mark.parametrize("key", ["allowed_domains", "allowed_cidrs"])
def test_unlisted_allow_beside_an_allow_entry_is_refused(key: str) -> None:
    entry = "a.test" if key == "allowed_domains" else "11.0.0.0/8"
    document: dict[str, object] = {"mode": "custom", key: [entry], "unlisted": "allow"}
    [(field, message)] = violations(document)
    assert field == "unlisted"
    assert "use deny" in message


def test_a_policy_that_allows_the_unlisted_beside_an_entry_cannot_be_made() -> None:
    entries = policy_from_document({"mode": "custom", "allowed_cidrs": ["11.0.0.0/8"]}).policy
    assert isinstance(entries, Custom)
    with pytest.raises(ValueError, match="beside an allow entry"):
        Custom(allowed_cidrs=entries.allowed_cidrs, unlisted=Unlisted.ALLOW)


REFUSED: dict[str, tuple[dict[str, object], str, str]] = {
    "no mode": ({}, "mode", "is missing; use one of allow-all, deny-all, custom"),
    "an unknown mode": ({"mode": "allow_al"}, "mode", "allow_al is none of allow-all, deny-all"),
    "a mode that is no text": ({"mode": True}, "mode", "is true or false, not text"),
    "a mode that is null": ({"mode": None}, "mode", "is null, not text"),
    "an unknown key": ({"mode": "deny-all", "x": 1}, "x", "known keys are mode, allowed_domains"),
    "a misspelt key": (
        {"mode": "custom", "alowed_domains": []},
        "alowed_domains",
        "did you mean allowed_domains?",
    ),
    "both spellings": (
        {"mode": "custom", "denied_cidrs": [], "deniedCidrs": []},
        "denied_cidrs",
        "is given in snake_case and in camelCase",
    ),
    "a list beside allow-all": (
        {"mode": "allow-all", "denied_cidrs": []},
        "denied_cidrs",
        "means nothing beside mode allow-all",
    ),
    "a list beside deny-all": (
        {"mode": "deny-all", "allowed_domains": ["a.test"]},
        "allowed_domains",
        "means nothing beside mode deny-all",
    ),
    "unlisted beside deny-all": (
        {"mode": "deny-all", "unlisted": "deny"},
        "unlisted",
        "means nothing beside mode deny-all",
    ),
    "a text for a list": (
        {"mode": "custom", "allowed_domains": "a.test"},
        "allowed_domains",
        "is text, not a list",
    ),
    "null for a list": ({"mode": "custom", "allowed_cidrs": None}, "allowed_cidrs", "is null"),
    "a mapping for a list": (
        {"mode": "custom", "denied_cidrs": {}},
        "denied_cidrs",
        "is a mapping, not a list",
    ),
    "a set for a list": (
        {"mode": "custom", "denied_cidrs": {"x"}},
        "denied_cidrs",
        "is a set, not a list",
    ),
    "a number for an entry": (
        {"mode": "custom", "allowed_cidrs": [10.1]},
        "allowed_cidrs[0]",
        "is a number, not text",
    ),
    "a list for an entry": (
        {"mode": "custom", "allowed_cidrs": [["10.0.0.0/8"]]},
        "allowed_cidrs[0]",
        "is a list, not text",
    ),
    "an unknown unlisted": (
        {"mode": "custom", "unlisted": "alow"},
        "unlisted",
        "alow is none of deny, allow",
    ),
    "an unlisted that is no text": ({"mode": "custom", "unlisted": 1}, "unlisted", "is a number"),
}


@pytest.mark.parametrize(("document", "field", "message"), REFUSED.values(), ids=REFUSED)
def test_a_document_that_is_not_understood_is_refused(
    document: dict[str, object], field: str, message: str
) -> None:
    [(where, what)] = violations(document)
    assert where == field
    assert message in what


def test_every_violation_is_reported_at_once() -> None:
    with pytest.raises(InvalidPolicy) as caught:
        policy_from_document(
            {
                "mode": "custm",
                "allowed_domains": ["a.test", "*foo.com", 5],
                "allowedCidrs": ["11.0.0.1/8"],
                "denied_cidrs": ["nope"],
                "what": 1,
            }
        )
    assert [(v.field, v.suggestion) for v in caught.value.violations] == [
        ("what", None),
        ("mode", "custom"),
        ("allowed_domains[1]", "*.foo.com"),
        ("allowed_domains[2]", None),
        ("allowed_cidrs[0]", "11.0.0.0/8"),
        ("denied_cidrs[0]", None),
    ]
    assert "allowed_cidrs[0]: 11.0.0.1/8 has host bits set; use 11.0.0.0/8" in str(caught.value)


def test_the_caller_chooses_the_prefix_of_paths() -> None:
    fields = PolicyFields(mode=Mode.CUSTOM, allowed_cidrs=["1.1.1.1", "11.0.0.1/8"])
    with pytest.raises(InvalidPolicy) as caught:
        build_policy(fields, prefix="custom.")
    assert [v.field for v in caught.value.violations] == ["custom.allowed_cidrs[1]"]


def test_duplicates_collapse_in_canonical_form_and_order_is_kept() -> None:
    fields = PolicyFields(
        mode=Mode.CUSTOM,
        allowed_domains=["b.test", "A.test", "B.TEST.", "c.test", "a.test"],
        denied_cidrs=["11.0.0.1", "11.0.0.1/32"],
    )
    parsed = build_policy(fields)
    assert isinstance(parsed.policy, Custom)
    assert [str(p) for p in parsed.policy.allowed_domains] == ["b.test", "a.test", "c.test"]
    assert parsed.duplicates == (
        Duplicate("allowed_domains", 2, "b.test"),
        Duplicate("allowed_domains", 4, "a.test"),
        Duplicate("denied_cidrs", 1, "11.0.0.1/32"),
    )


def test_a_list_past_the_limit_is_refused_as_a_whole_and_not_read() -> None:
    fields = PolicyFields(mode=Mode.CUSTOM, denied_cidrs=["bad", "worse", "worst"])
    with pytest.raises(InvalidPolicy) as caught:
        build_policy(fields, Limits(entries_per_list=2))
    assert caught.value.violations == (
        Violation("denied_cidrs", "has 3 entries; at most 2 are allowed"),
    )


def test_a_list_at_the_default_limit_is_read() -> None:
    names = [f"h{index}.test" for index in range(1000)]
    parsed = build_policy(PolicyFields(mode=Mode.CUSTOM, allowed_domains=names))
    assert isinstance(parsed.policy, Custom)
    assert len(parsed.policy.allowed_domains) == 1000
    with pytest.raises(InvalidPolicy, match="1001 entries; at most 1000"):
        build_policy(PolicyFields(mode=Mode.CUSTOM, allowed_domains=[*names, "x.test"]))

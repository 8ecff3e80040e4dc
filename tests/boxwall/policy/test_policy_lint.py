import sys
from functools import cache

import pytest

from boxwall.policy import (
    AllowAll,
    DenyAll,
    Mode,
    Parsed,
    PolicyFields,
    Unlisted,
    WarningCode,
    build_policy,
    lint,
    warm_public_suffixes,
)

NAME = ["a.test"]


def custom(
    domains: list[str] | None = None,
    allowed: list[str] | None = None,
    denied: list[str] | None = None,
    unlisted: Unlisted | None = None,
    prefix: str = "",
) -> Parsed:
    fields = PolicyFields(
        mode=Mode.CUSTOM,
        allowed_domains=domains,
        allowed_cidrs=allowed,
        denied_cidrs=denied,
        unlisted=unlisted,
    )
    return build_policy(fields, prefix=prefix)


CASES = {
    "nothing to say": (custom(NAME, ["11.0.0.0/8"], ["11.1.0.0/16"]), []),
    "a private CIDR": (
        custom(NAME, ["1.1.1.1", "10.1.0.0/16"]),
        ["PRIVATE_CIDR_STAYS_BLOCKED allowed_cidrs[1]"],
    ),
    "a CIDR around private ones": (
        custom(NAME, ["0.0.0.0/0"]),
        ["PRIVATE_CIDR_STAYS_BLOCKED allowed_cidrs[0]"],
    ),
    "IPv6 outside global unicast": (
        custom(NAME, ["4000::/16"]),
        ["PRIVATE_CIDR_STAYS_BLOCKED allowed_cidrs[0]"],
    ),
    "empty": (custom(), ["EMPTY_CUSTOM_DENIES_ALL allowed_domains"]),
    "nothing allowed": (
        custom([], None, ["11.0.0.0/8"]),
        ["EMPTY_CUSTOM_DENIES_ALL allowed_domains"],
    ),
    "the deny-list form": (
        custom(denied=["11.0.0.0/8"]),
        ["DENY_LIST_ALLOWS_THE_REST unlisted"],
    ),
    "the deny-list form without a list": (
        custom(unlisted=Unlisted.ALLOW),
        ["DENY_LIST_ALLOWS_THE_REST unlisted"],
    ),
    "CIDRs only": (custom(allowed=["11.0.0.0/8"]), ["NO_NAMES_RESOLVE allowed_domains"]),
    "a wildcard without its apex": (
        custom(["*.example.com"]),
        ["WILDCARD_WITHOUT_APEX allowed_domains[0]"],
    ),
    "a wildcard with its apex": (custom(["*.example.com", "example.com"]), []),
    "a wildcard whose apex another one matches": (
        custom(["*.b.example.com", "*.example.com", "example.com"]),
        [],
    ),
    "a wildcard of a top-level domain": (
        custom(["*.com"]),
        ["PUBLIC_SUFFIX_WILDCARD allowed_domains[0]"],
    ),
    "a wildcard of a private public suffix": (
        custom(["*.github.io", "github.io"]),
        ["PUBLIC_SUFFIX_WILDCARD allowed_domains[0]"],
    ),
    "a CIDR in a denied one": (
        custom(NAME, ["11.1.0.0/16"], ["11.0.0.0/8"]),
        ["SHADOWED_BY_DENY allowed_cidrs[0]"],
    ),
    "a CIDR in two denied ones together": (
        custom(NAME, ["11.0.0.0/8"], ["11.0.0.0/9", "11.128.0.0/9"]),
        ["SHADOWED_BY_DENY allowed_cidrs[0]"],
    ),
    "a CIDR half denied": (custom(NAME, ["11.0.0.0/8"], ["11.0.0.0/9"]), []),
    "a CIDR of the other version denied": (custom(NAME, ["11.0.0.0/8"], ["2000::/3"]), []),
    "duplicates": (
        custom(["a.test", "A.TEST"], None, ["11.0.0.0/8", "11.0.0.0/8"]),
        ["DUPLICATE_ENTRY allowed_domains[1]", "DUPLICATE_ENTRY denied_cidrs[1]"],
    ),
    "paths are those of the list as it was given": (
        custom(["a.test", "a.test", "*.example.com"], prefix="custom."),
        [
            "WILDCARD_WITHOUT_APEX custom.allowed_domains[2]",
            "DUPLICATE_ENTRY custom.allowed_domains[1]",
        ],
    ),
    "paths count the duplicates of their own list only": (
        custom(["a.test", "a.test"], ["1.1.1.1", "10.0.0.0/8"]),
        [
            "PRIVATE_CIDR_STAYS_BLOCKED allowed_cidrs[1]",
            "DUPLICATE_ENTRY allowed_domains[1]",
        ],
    ),
    "allow-all": (Parsed(policy=AllowAll()), []),
    "deny-all": (Parsed(policy=DenyAll()), []),
}


@pytest.mark.parametrize(("parsed", "expected"), CASES.values(), ids=CASES)
def test_a_policy_is_warned_about(parsed: Parsed, expected: list[str]) -> None:
    assert [f"{warning.code.value} {warning.field}" for warning in lint(parsed)] == expected


def test_a_change_of_form_is_warned_about_in_both_directions() -> None:
    allow_list, deny_list = custom(NAME), custom(denied=["11.0.0.0/8"])
    [to_deny_list] = [
        w for w in lint(deny_list, allow_list.policy) if w.code is WarningCode.FORM_CHANGED
    ]
    assert to_deny_list.field == "unlisted"
    assert to_deny_list.message.endswith("was denied until now, and will be allowed")
    [to_allow_list] = lint(allow_list, deny_list.policy)
    assert to_allow_list.message.endswith("was allowed until now, and will be denied")


def test_the_same_form_and_other_modes_are_no_change_of_form() -> None:
    assert lint(custom(NAME), custom(["b.test"]).policy) == ()
    assert lint(custom(NAME), AllowAll()) == ()


def test_a_warning_counts_the_ranges_that_stay_blocked() -> None:
    [one] = lint(custom(NAME, ["10.1.0.0/16"]))
    assert one.message == (
        "10.1.0.0/16 overlaps 10.0.0.0/8 (private, RFC 1918); what overlaps stays blocked"
    )
    [many] = lint(custom(NAME, ["0.0.0.0/0"]))
    assert "0.0.0.0/8 (this network, RFC 791) and 15 more ranges" in many.message


def test_after_the_warm_up_the_first_wildcard_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules[lint.__module__]
    monkeypatch.setattr(module, "_public_suffixes", cache(module._public_suffixes.__wrapped__))
    warm_public_suffixes()
    monkeypatch.delattr(module, "PublicSuffixList")  # whoever reads it now fails
    [warning] = lint(custom(["*.never-asked-before.test"]))
    assert warning.code is WarningCode.WILDCARD_WITHOUT_APEX

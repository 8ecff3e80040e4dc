import pytest

from boxwall.policy import AllowAll, Custom, DenyAll, Mode, Reason, Rule, RuleList, Verdict, mode_of


def test_a_verdict_has_no_truth_value() -> None:
    verdict = Verdict(allowed=True, reason=Reason.ALLOW_ALL)
    with pytest.raises(TypeError, match=r"use verdict\.allowed"):
        bool(verdict)


def test_the_names_of_reasons_are_their_values() -> None:
    assert all(reason.value == reason.name for reason in Reason)
    assert len(Reason) == 18


def test_an_explanation_names_the_rule_the_revision_and_what_to_do() -> None:
    rule = Rule(RuleList.DENIED_CIDRS, "11.0.0.0/8")
    verdict = Verdict(allowed=False, reason=Reason.DENIED_CIDR, rule=rule, policy_revision=7)
    assert verdict.explanation == (
        "Denied by policy revision 7: the address is in denied_cidrs 11.0.0.0/8, "
        "and deny beats allow; remove that entry."
    )


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_in_one_sentence(reason: Reason) -> None:
    rule = Rule(RuleList.ALLOWED_DOMAINS, "*.x-y.test")
    allowed = reason in (
        Reason.ALLOW_ALL,
        Reason.ALLOWED_CIDR,
        Reason.ALLOWED_DOMAIN,
        Reason.NOT_DENIED,
    )
    verdict = Verdict(allowed=allowed, reason=reason, rule=rule)
    text = verdict.explanation
    assert text.startswith("Allowed by this policy: " if allowed else "Denied by this policy: ")
    assert text.endswith(".")
    assert text.count(". ") == 0
    named = reason not in (Reason.SPOOFED_SOURCE, Reason.NO_POLICY, Reason.RATE_LIMITED)
    assert ("allowed_domains *.x-y.test" in text) == named
    without_rule = Verdict(allowed=allowed, reason=reason)
    assert "None" not in without_rule.explanation


def test_every_policy_has_a_mode() -> None:
    assert [mode_of(policy) for policy in (AllowAll(), DenyAll(), Custom())] == list(Mode)
    assert [mode.value for mode in Mode] == ["allow-all", "deny-all", "custom"]

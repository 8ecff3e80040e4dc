"""What does a policy mean, and is this text one?

Pure: values in, values out. A policy is read by `build_policy` or `policy_from_document`, asked by
`decide`, and criticised by `lint`.
"""

from boxwall.policy.addresses import ALWAYS_BLOCKED, Address, Network, NetworkTable, ip_literal
from boxwall.policy.decide import NOTHING_SPECIAL, Surroundings, decide, matching_domain
from boxwall.policy.errors import (
    EntryError,
    InvalidDestination,
    InvalidPolicy,
    PolicyError,
    Violation,
    shown,
)
from boxwall.policy.lint import PolicyWarning, WarningCode, lint, warm_public_suffixes
from boxwall.policy.model import (
    AllowAll,
    Custom,
    DenyAll,
    Destination,
    Mode,
    Policy,
    Protocol,
    Reason,
    Rule,
    RuleList,
    Unlisted,
    Verdict,
    destination,
    mode_of,
)
from boxwall.policy.names import DomainPattern, Name
from boxwall.policy.parse import (
    DEFAULT_LIMITS,
    Duplicate,
    Limits,
    Parsed,
    PolicyFields,
    build_policy,
    load_document,
    policy_from_document,
    policy_to_document,
)

__all__ = [
    "ALWAYS_BLOCKED",
    "DEFAULT_LIMITS",
    "NOTHING_SPECIAL",
    "Address",
    "AllowAll",
    "Custom",
    "DenyAll",
    "Destination",
    "DomainPattern",
    "Duplicate",
    "EntryError",
    "InvalidDestination",
    "InvalidPolicy",
    "Limits",
    "Mode",
    "Name",
    "Network",
    "NetworkTable",
    "Parsed",
    "Policy",
    "PolicyError",
    "PolicyFields",
    "PolicyWarning",
    "Protocol",
    "Reason",
    "Rule",
    "RuleList",
    "Surroundings",
    "Unlisted",
    "Verdict",
    "Violation",
    "WarningCode",
    "build_policy",
    "decide",
    "destination",
    "ip_literal",
    "lint",
    "load_document",
    "matching_domain",
    "mode_of",
    "policy_from_document",
    "policy_to_document",
    "shown",
    "warm_public_suffixes",
]

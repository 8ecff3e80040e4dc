"""Policies of every form, for Hypothesis."""

from hypothesis import strategies as st

from boxwall.policy import AllowAll, Custom, DenyAll, DomainPattern, Network, Policy, Unlisted

_LABELS = st.text("abcz09", min_size=1, max_size=8) | st.sampled_from(["xn--bcher-kva", "_dmarc"])


@st.composite
def patterns(draw: st.DrawFn) -> DomainPattern:
    """A domain entry."""
    star = draw(st.sampled_from(["", "*."]))
    labels = draw(st.lists(_LABELS, min_size=1, max_size=4))
    return DomainPattern.parse(star + ".".join([*labels, "test"]))


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A CIDR entry, IPv4 or global IPv6."""
    if draw(st.booleans()):
        length = draw(st.integers(1, 32))
        return Network(4, draw(st.integers(0, 2**length - 1)) << (32 - length), length)
    length = draw(st.integers(3, 128))
    rest = draw(st.integers(0, 2 ** (length - 3) - 1))
    return Network(6, (1 << (length - 3) | rest) << (128 - length), length)


def _some(entries: st.SearchStrategy[DomainPattern] | st.SearchStrategy[Network]):  # type: ignore[no-untyped-def]  # of either
    return st.lists(entries, max_size=5, unique=True).map(tuple)


ALLOW_LISTS = st.builds(
    Custom,
    allowed_domains=_some(patterns()),
    allowed_cidrs=_some(networks()),
    denied_cidrs=_some(networks()),
    unlisted=st.just(Unlisted.DENY),
)
DENY_LISTS = st.builds(
    Custom, denied_cidrs=_some(networks()), unlisted=st.sampled_from([*Unlisted])
)
POLICIES: st.SearchStrategy[Policy] = st.one_of(
    st.just(AllowAll()), st.just(DenyAll()), ALLOW_LISTS, DENY_LISTS
)

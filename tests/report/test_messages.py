"""Requests of the benchmarks differ where they are to, and nowhere else."""

from bench.messages import update
from boxwall.v1 import box_service_pb2, policy_pb2


def test_a_policy_is_sent_as_it_was_given_whatever_numbers_are_in_its_names() -> None:
    domains = [f"*.d{number}.example" for number in range(1_000)]
    custom = policy_pb2.CustomPolicy(allowed_domains=domains)
    sent = box_service_pb2.UpdateNetworkPolicyRequest.FromString(update(custom=custom)(7, 1_234))
    assert sent.box_id == "box-00000007"
    assert [*sent.network_policy.custom.allowed_domains] == domains


def test_no_two_requests_have_the_same_policy() -> None:
    template = update()
    made = [
        box_service_pb2.UpdateNetworkPolicyRequest.FromString(template(1, number)).network_policy
        for number in range(300)
    ]
    assert len({one.SerializeToString() for one in made}) == 300
    assert len({one.custom.denied_cidrs[0] for one in made}) == 300

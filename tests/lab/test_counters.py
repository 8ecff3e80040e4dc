"""What the rules refuse or drop is counted as its box's, and so are a box's connections."""

from pathlib import Path

from boxwall.policy import AllowAll, Custom, DenyAll
from boxwall.policy.names import DomainPattern
from boxwall_agent.counts import KernelCounts
from boxwall_agent.features import known_queue
from boxwall_agent.hosted import Hosted
from boxwall_agent.nft.layout import PerBox
from boxwall_agent.nft.naming import Naming
from fakes.agent_process import eventually, site
from lab.kernel import Kernel
from lab.network import Box, Lab
from lab.packets import tcp, udp
from lab.servers import Echo, connect, reaches

OUTSIDE = "1.1.1.1"


def refused(kernel: Kernel, box: Box) -> int:
    """As the agent reports it."""
    hosted = Hosted(box_id="b1", interfaces=(kernel.interfaces[box.name],))
    return KernelCounts(kernel.nft).refused([hosted])["b1"]


def test_what_the_policy_refuses_is_counted(lab: Lab, kernel: Kernel) -> None:
    box, other = lab.box(), lab.box()
    for one in (box, other):
        kernel.attach(one)
        kernel.enforce(one, DenyAll())
    for _ in range(7):
        box.wire.send(udp(box.addresses[0], OUTSIDE, 9, b"refused"))
    for _ in range(3):
        box.wire.send(udp("10.9.9.9", OUTSIDE, 9, b"spoofed"))
    assert (refused(kernel, box), refused(kernel, other)) == (10, 0)


def test_what_belongs_to_no_connection_is_counted(lab: Lab, kernel: Kernel) -> None:
    box = lab.box()
    kernel.attach(box)
    kernel.enforce(box, AllowAll())
    for _ in range(5):
        box.wire.send(tcp(box.addresses[0], OUTSIDE, 80, flags=0))
    assert refused(kernel, box) == 5


def test_what_exceeds_a_boxs_share_of_the_reader_is_counted(lab: Lab) -> None:
    kernel = Kernel(lab)
    queue = known_queue(kernel.nft)
    kernel.close()
    assert queue is not None
    naming = Naming(dns_port=1053, relay_port=1080, http_ports=(80,), queue=queue[1])
    kernel = Kernel(lab, naming=naming, per_box=PerBox(read_packets=2), replace=True)
    box = lab.box()
    kernel.attach(box)
    kernel.enforce(box, Custom(allowed_domains=(DomainPattern.parse("api.example.com"),)))
    kernel.lease(box, "api.example.com", OUTSIDE)
    for port in range(20_000, 20_050):
        box.wire.send(tcp(box.addresses[0], OUTSIDE, 443, source_port=port))
    # The first went to the queue, where nobody listens, and two more for each second that passed.
    assert 40 <= refused(kernel, box) <= 49
    kernel.close()


def test_a_second_opening_of_an_open_connection_is_counted(lab: Lab, kernel: Kernel) -> None:
    echo = Echo(lab.internet, 443)
    box = lab.box()
    kernel.attach(box)
    kernel.enforce(box, AllowAll())
    near = connect(box, OUTSIDE, 443)
    kernel.enforce(box, Custom(allowed_domains=(DomainPattern.parse("api.example.com"),)))
    before = refused(kernel, box)
    box.wire.send(tcp(box.addresses[0], OUTSIDE, 443, source_port=near.getsockname()[1]))
    assert refused(kernel, box) == before + 1
    near.close()
    echo.close()


def test_a_box_with_too_many_connections_opens_no_more_and_keeps_those_it_has(
    lab: Lab, tmp_path: Path
) -> None:
    lab.node.set_kernel(netfilter__nf_conntrack_udp_timeout="3")
    echo = Echo(lab.internet)
    with site(lab, tmp_path, "--connections", "100") as here:
        greedy, modest = (here.box(name, "--mode", "allow-all") for name in ("b1", "b2"))
        near = connect(greedy, OUTSIDE)
        for port in range(20_000, 20_120):
            greedy.wire.send(udp(greedy.addresses[0], OUTSIDE, 9, b"many", source_port=port))
        eventually(lambda: here.agent.events("too_many_connections"), bool)
        assert not reaches(greedy, OUTSIDE)
        assert reaches(modest, OUTSIDE)
        near.sendall(b"alive")
        assert near.recv(5) == b"alive"
        refusals = eventually(lambda: here.must("refusals", "b1")["refusals"], bool)
        assert {one["reason"] for one in refusals} == {"RATE_LIMITED"}
        eventually(lambda: reaches(greedy, OUTSIDE), True.__eq__, patience=20)
        near.close()
    echo.close()

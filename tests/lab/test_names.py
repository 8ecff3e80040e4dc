"""Names in force: real resolvers and real clients in a box, real servers outside."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from boxwall_agent.nft.layout import PerBox
from fakes.agent_process import eventually
from lab.dns import RESOLVER
from lab.namespaces import inside
from lab.network import NODE, Box, Lab
from lab.web import RETRY_PORT
from lab.world import API, CDN, POLICY, World


@pytest.fixture
def here(lab: Lab, tmp_path: Path) -> Iterator[World]:
    """A running world."""
    made = World(lab, tmp_path)
    yield made
    made.close()


@pytest.fixture
def box(here: World) -> Box:
    """A box that may reach two names."""
    return here.box("b1", *POLICY)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        (f"https://{API}/", "5.5.5.5"),
        (f"https://{API}/", "2600:5::5"),
        (f"https://{CDN}/", "6.6.6.6"),
        (f"https://{API}:8443/", "5.5.5.5"),
        (f"https://{API}:{RETRY_PORT}/", "2600:5::5"),
        (f"http://{API}/", "5.5.5.5"),
        (f"http://{API}:8080/", "2600:5::5"),
    ],
)
def test_an_allowed_name_is_reached_at_the_first_try(
    here: World, box: Box, url: str, address: str
) -> None:
    done = here.curl(box, url, "-6" if ":" in address else "-4")

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"this is {url.split('/')[2].partition(':')[0]} at {address}\n"


def test_another_name_at_an_allowed_address_is_refused_and_its_server_hears_nothing(
    here: World, box: Box
) -> None:
    here.curl(box, f"https://{API}/")

    for url in ("https://evil.example.net/", "http://evil.example.net/"):
        port = "443" if url.startswith("https") else "80"
        done = here.curl(box, url, "--insecure", "--resolve", f"evil.example.net:{port}:5.5.5.5")
        assert done.returncode != 0 or "refused: NAME_MISMATCH" in done.stdout
    assert "evil.example.net" not in here.web.names()
    refusals = eventually(lambda: here.must("refusals", "b1")["refusals"], bool)
    assert {one["reason"] for one in refusals} == {"NAME_MISMATCH"}


def test_the_server_of_a_connection_that_is_refused_by_name_is_not_left_waiting(
    here: World, box: Box
) -> None:
    with inside(here.lab.internet.name):
        server = socket.create_server(("::", 4433), family=socket.AF_INET6, dualstack_ipv6=True)
    server.settimeout(10)
    here.curl(box, f"https://{API}/")
    here.curl(box, "https://evil.example.net:4433/", "--resolve", "evil.example.net:4433:5.5.5.5")
    far, _ = server.accept()
    far.settimeout(10)
    with pytest.raises(ConnectionResetError):
        far.recv(1)
    far.close()
    server.close()


def test_a_name_that_is_not_allowed_is_asked_of_nobody(here: World, box: Box) -> None:
    done = here.curl(box, "https://evil.example.net/")

    assert done.returncode == 6  # could not resolve
    assert here.names.questions == []


def test_a_box_that_may_reach_nothing_sends_no_query_anywhere(here: World) -> None:
    box = here.box("b2", "--mode", "deny-all")
    here.lab.internet.witness.look()

    for server in ("8.8.8.8", NODE[0], "10.1.1.1", "2600::8"):
        asked = f"""
import dns.message, dns.query, dns.rcode
for ask in (dns.query.udp, dns.query.tcp):
    print(dns.rcode.to_text(ask(dns.message.make_query("x.{API}", "A"), "{server}", 3).rcode()))
"""
        assert here.python(box, asked).split() == ["NXDOMAIN", "NXDOMAIN"]
    came = here.lab.internet.witness.look()
    assert [one for one in came if 53 in one.ports and one.protocol in (6, 17)] == []


def test_a_refusal_names_the_rule_and_the_revision(here: World, box: Box) -> None:
    asked = """
import dns.message, dns.query
answer = dns.query.udp(dns.message.make_query("evil.example.net", "A", use_edns=0), "9.9.9.9", 3)
print(answer.options[0].to_text(), answer.authority)
"""
    said = here.python(box, asked)
    assert "EDE 15 (Blocked)" in said
    assert "policy revision 1: evil.example.net is in no entry of allowed_domains" in said
    assert said.endswith("[]\n")


def test_a_policy_that_adds_a_name_works_for_the_next_query(here: World, box: Box) -> None:
    assert here.curl(box, "https://evil.example.net/").returncode == 6

    here.must(
        "policy",
        "set",
        "b1",
        *POLICY,
        "--allow-domain",
        "evil.example.net",
    )

    assert here.curl(box, "https://evil.example.net/").returncode == 0


DOWNLOAD = """
import socket, ssl, sys, time
context = ssl.create_default_context(cafile={authority!r})
made = []
for name in {names!r}:
    one = context.wrap_socket(socket.create_connection((name, 443), 5), server_hostname=name)
    one.sendall(f"GET /bytes/10000000000 HTTP/1.1\\r\\nHost: {{name}}\\r\\n\\r\\n".encode())
    one.recv(100)
    made.append(one)
print("begun", flush=True)
last = dict.fromkeys({names!r}, 0.0)
until = time.monotonic() + 20
while time.monotonic() < until and made:
    for name, one in zip({names!r}, list(made)):
        if one is None:
            continue
        try:
            time.sleep(0.002)  # slow enough for the witness
            if not one.recv(65536):
                raise OSError
            last[name] = time.monotonic()
        except OSError as exc:
            made[{names!r}.index(name)] = None
            print("ended", name, time.monotonic(), flush=True)
"""


def test_withdrawing_one_of_two_names_on_one_address_cuts_its_connections_only(
    here: World, box: Box
) -> None:
    here.names.zone["*.cdn.example.com"] = ["5.5.5.5"]
    code = DOWNLOAD.format(authority=str(here.web.authority), names=[API, CDN])
    with subprocess.Popen(
        here.command_inside(box, sys.executable, "-c", code), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        here.must("policy", "set", "b1", "--allow-domain", "*.cdn.example.com")
        returned = time.monotonic()
        ended = process.stdout.readline().split()
        time.sleep(1)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read()
    assert ended[:2] == ["ended", API]
    assert float(ended[2]) - returned < 0.1
    assert rest == ""


def test_names_that_stay_allowed_keep_their_connections_over_many_updates(
    here: World, box: Box
) -> None:
    url = f"https://{API}/bytes/200000000"
    command = (
        "curl",
        "--cacert",
        str(here.web.authority),
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        url,
    )
    with subprocess.Popen(
        here.command_inside(box, *command), stdout=subprocess.PIPE, text=True
    ) as process:
        for number in range(10):
            cidr = f"7.7.{number}.0/24"
            here.must("policy", "set", "b1", *POLICY, "--allow-cidr", cidr)
        assert process.stdout is not None
        assert process.stdout.read() == "200000000"


def test_a_denied_network_that_covers_one_address_of_a_name_ends_that_one(
    here: World, box: Box
) -> None:
    assert here.curl(box, f"https://{API}/", "-4").returncode == 0

    here.must("policy", "set", "b1", *POLICY, "--deny-cidr", "5.0.0.0/8")

    assert here.curl(box, f"https://{API}/", "-4").returncode != 0
    assert here.curl(box, f"https://{API}/", "-6").returncode == 0


def test_an_answer_with_private_addresses_is_filtered(here: World, box: Box) -> None:
    here.names.zone[API] = ["10.0.0.1", "169.254.169.254"]
    asked = f"""
import dns.message, dns.query
answer = dns.query.udp(dns.message.make_query("{API}", "A", use_edns=0), "9.9.9.9", 3)
print(len(answer.answer), answer.options[0].to_text())
"""
    assert here.python(box, asked).startswith("0 EDE 17 (Filtered)")


def test_an_agent_that_is_killed_leaves_allowed_connections_open_and_the_next_knows_the_names(
    here: World, box: Box
) -> None:
    url = f"https://{API}/bytes/100000000"
    command = (
        "curl",
        "--cacert",
        str(here.web.authority),
        "-sS",
        "--limit-rate",
        "30M",
        "-o",
        "/dev/null",
        "-w",
        "%{size_download}",
        url,
    )
    with subprocess.Popen(
        here.command_inside(box, *command), stdout=subprocess.PIPE, text=True
    ) as process:
        eventually(here.web.names, lambda names: API in names)
        time.sleep(0.3)
        here.agent.signal(signal.SIGKILL)
        refused = here.inside(
            box,
            "curl",
            "-ksS",
            "--max-time",
            "1",
            "--resolve",
            f"{API}:443:5.5.5.5",
            f"https://{API}/",
        )
        assert refused.returncode != 0
        here.agent.start("--dns-upstream", RESOLVER)
        before = here.names.asked(API)
        again = here.inside(
            box,
            "curl",
            "-ksS",
            "--max-time",
            "5",
            "--resolve",
            f"{API}:443:5.5.5.5",
            f"https://{API}/",
        )
        assert again.returncode == 0, again.stderr
        assert here.names.asked(API) == before
        assert process.stdout is not None
        assert process.stdout.read() == "100000000"


FETCH = """
while read -r name; do
    curl --silent --show-error --max-time 30 --cacert "$1" --output /dev/null \\
        --write-out "%{http_code} %{remote_ip} $name\\n" "https://$name/" 2>&1
done
"""


@pytest.mark.timeout(600)
def test_names_never_resolved_before_are_reached_by_curl_at_the_first_try(
    here: World, box: Box, request: pytest.FixtureRequest
) -> None:
    """Every one, and once only: nothing is tried again."""
    here.names.zone["*.cdn.example.com"] = ["6.6.6.6"]
    count = request.config.getoption("--names")
    names = [f"n{number}.cdn.example.com" for number in range(count)]
    done = subprocess.run(
        here.command_inside(box, "sh", "-c", FETCH, "sh", str(here.web.authority)),
        input="".join(f"{name}\n" for name in names),
        capture_output=True,
        text=True,
        timeout=500,
    )
    wanted = [f"200 6.6.6.6 {name}" for name in names]
    reached = done.stdout.splitlines()
    assert [line for line in reached if line not in wanted] == []
    assert len(reached) == count
    assert set(names) <= set(here.names.questions)
    print(f"{len(reached)} of {count} names reached at the first try")


OUTLIVE = """
import http.client, socket, ssl, sys, time
context = ssl.create_default_context(cafile={authority!r})
secure = http.client.HTTPSConnection({name!r}, timeout=10, context=context)
clear = http.client.HTTPConnection({name!r}, timeout=10)
address = socket.getaddrinfo({name!r}, 443, socket.AF_INET)[0][4]

def ask():
    for one in (secure, clear):
        one.request("GET", "/")
        print(one.getresponse().read().decode().split()[2])

def begins():
    try:
        with socket.create_connection(address, 3) as made:
            context.wrap_socket(made, server_hostname={name!r}).close()
    except OSError:
        return False
    return True

ask()
until = time.monotonic() + 60
while begins():
    assert time.monotonic() < until, "the lease does not end"
    time.sleep(0.2)
sockets = [id(one.sock) for one in (secure, clear)]
ask()
assert [id(one.sock) for one in (secure, clear)] == sockets, "they were opened again"
"""


def test_an_idle_lease_ends_and_the_connections_that_began_by_it_go_on(
    here: World, tmp_path: Path
) -> None:
    """Nothing is asked of DNS again: what begins goes to the address that was leased."""
    here.agent.close()
    here.agent.start(*("--dns-upstream", RESOLVER, "--shortest-lease", "1s", "--lease-grace", "0s"))
    here.names.ttl = 1
    here.names.zone[API] = ["5.5.5.5"]
    box = here.box("b1", *POLICY)

    code = OUTLIVE.format(authority=str(here.web.authority), name=API)

    assert here.python(box, code, timeout=90).split() == [API] * 4


def test_a_client_that_keeps_its_connection_has_every_request_judged(here: World, box: Box) -> None:
    code = f"""
import httpx
with httpx.Client(timeout=10) as client:
    for host in ("{API}", "{API}", "evil.example.net"):
        answer = client.get("http://{API}/", headers={{"Host": host}})
        print(answer.status_code, answer.text.strip())
with httpx.Client(timeout=10, verify="{here.web.authority}") as client:
    for _ in range(2):
        print(client.get("https://{API}/").status_code)
"""
    said = here.python(box, code).splitlines()
    assert said[0] == said[1]
    assert said[0].startswith(f"200 this is {API} at ")
    assert said[2].startswith("403 Boxwall: evil.example.net at ")
    assert "is refused: NAME_MISMATCH" in said[2]
    assert said[3:] == ["200", "200"]
    assert "evil.example.net" not in here.web.names()


def test_openssl_reaches_an_allowed_name_and_no_other_at_its_address(here: World, box: Box) -> None:
    here.names.zone[API] = ["5.5.5.5"]

    def asked(name: str) -> int:
        return here.inside(
            box,
            *("openssl", "s_client", "-connect", f"{API}:443", "-servername", name, "-brief"),
            *("-CAfile", str(here.web.authority), "-verify_return_error"),
        ).returncode

    assert asked(API) == 0
    assert asked("evil.example.net") != 0
    assert "evil.example.net" not in here.web.names()


def test_dig_is_told_the_answer_and_why_there_is_none(here: World, box: Box) -> None:
    def asked(*what: str) -> str:
        return here.inside(box, "dig", "+tries=1", "+time=5", "@198.51.100.53", *what).stdout

    for how in ("+notcp", "+tcp"):
        assert asked(how, "+short", API).strip() == "5.5.5.5"
        refused = asked(how, "evil.example.net")
        assert "status: NXDOMAIN" in refused
        assert "EDE: 15 (Blocked)" in refused
        assert "evil.example.net is in no entry of allowed_domains" in refused
    assert asked("+notcp", "+short", "API.Example.COM").strip() == "5.5.5.5"
    assert "evil.example.net" not in here.names.questions


FLOOD = """
import dns.message, socket, time
query = dns.message.make_query("evil.example.net", "A").to_wire()
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.connect(("9.9.9.9", 53))
    asking.setblocking(False)
    sent = answered = 0
    began = time.monotonic()
    print("begun", flush=True)
    while time.monotonic() - began < 4:
        try:
            sent += asking.send(query) > 0
        except BlockingIOError:
            pass
        try:
            answered += len(asking.recv(4096)) > 0
        except BlockingIOError:
            pass
    print(sent, answered, time.monotonic() - began)
"""


def test_a_box_that_asks_too_fast_is_held_back_in_the_kernel_and_others_are_answered(
    here: World, box: Box
) -> None:
    modest = here.box("b2", *POLICY)
    with subprocess.Popen(
        here.command_inside(box, sys.executable, "-c", FLOOD), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        code = f"import socket\nfor _ in range(30): print(socket.getaddrinfo('{API}', 443)[0][0])"
        assert len(here.python(modest, code).split()) == 30
        sent, answered, seconds = map(float, process.stdout.read().split())
    most = PerBox().queries * (1 + seconds)
    assert answered <= most
    assert sent > 2 * most, "this machine could not ask too fast"


GREEDY = """
import select, socket, time
address = socket.getaddrinfo("{name}", 80, socket.AF_INET)[0][4]
kept = [socket.create_connection(address, 5) for _ in range({count})]
until = time.monotonic() + 8  # who says nothing is cut after ten
while len(kept) > {most} and time.monotonic() < until:
    for one in select.select(kept, [], [], 0.1)[0]:
        kept.remove(one)
print(len(kept), flush=True)
input()
"""


def test_a_box_that_opens_many_connections_to_the_relay_leaves_files_to_others(
    here: World,
) -> None:
    here.agent.close()
    usual = here.agent.command("--dns-upstream", RESOLVER)
    here.agent.start(command=["prlimit", "--nofile=256:256", *usual])
    greedy, modest = here.box("b1", *POLICY), here.box("b2", *POLICY)
    most = 256 // 2 // 2 // 2  # half of the files, two for each, and half of those for one box
    code = GREEDY.format(name=API, count=most + 20, most=most)
    with subprocess.Popen(
        here.command_inside(greedy, sys.executable, "-c", code),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == most
        done = here.curl(modest, f"http://{API}/")
        assert done.stdout.startswith(f"this is {API}"), done
        process.kill()


def test_other_protocols_pass_at_the_level_of_addresses(here: World, box: Box) -> None:
    from lab.servers import Echo

    echo = Echo(here.lab.internet, 2222)
    code = f"""
import socket
with socket.create_connection(("{API}", 2222), 5) as one:
    one.sendall(b"SSH-2.0-client\\r\\n")
    print(one.recv(100))
"""
    assert here.python(box, code) == "b'SSH-2.0-client\\r\\n'\n"
    echo.close()


@pytest.mark.skipif(not Path("/proc/sys/net/mptcp").exists(), reason="no multipath TCP here")
def test_a_client_of_multipath_tcp_reaches_an_allowed_name_by_one_path(
    here: World, box: Box
) -> None:
    """Its options would say in which order a server has to read what was read here as it came."""
    from lab.servers import Echo

    echo = Echo(here.lab.internet, 2222)
    code = f"""
import socket
address = socket.getaddrinfo("{API}", 2222, socket.AF_INET)[0][4]
with socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262) as one:
    one.settimeout(5)
    one.connect(address)
    one.sendall(b"SSH-2.0-client\\r\\n")
    print(one.recv(100))
"""
    assert here.python(box, code) == "b'SSH-2.0-client\\r\\n'\n"
    echo.close()
    openings = [one.payload for one in here.lab.internet.witness.look() if one.ports[1] == 2222]
    assert openings
    assert not any(30 in option_kinds(segment) for segment in openings)


def test_no_client_gets_what_it_needs_to_send_data_with_an_opening(here: World, box: Box) -> None:
    """It would be refused with its data, and try again no sooner than the program does."""
    here.lab.internet.set_kernel(ipv4__tcp_fastopen="0x203")
    code = f"""
import socket
address = socket.getaddrinfo("{API}", 443, socket.AF_INET)[0][4]
for _ in range(2):
    with socket.socket() as one:
        one.settimeout(10)
        one.setsockopt(socket.IPPROTO_TCP, 30, 1)  # TCP_FASTOPEN_CONNECT
        one.connect(address)
        one.send(b"x")
"""
    here.python(box, code)
    openings = [
        one.payload
        for one in here.lab.internet.witness.look()
        if one.ports[1] == 443 and one.payload[13] & 2
    ]
    assert len(openings) >= 2
    assert not any(34 in option_kinds(segment) for segment in openings)


def option_kinds(segment: bytes) -> list[int]:
    """Which options a TCP segment has."""
    options = segment[20 : (segment[12] >> 4) * 4]
    kinds: list[int] = []
    while options and options[0]:
        kinds.append(options[0])
        options = options[1 if options[0] == 1 else options[1] :]
    return kinds

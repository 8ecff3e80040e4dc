"""Verbs against a fake control plane: what is printed, and the exit status."""

import json
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.fixture
def box(run: Run) -> str:
    """A box of this test's own."""
    box_id = f"b-{uuid.uuid4().hex[:8]}"
    assert run("box", "create", "--id", box_id, "--mode", "deny-all").exit_code == 0
    return box_id


def answer(result: Result) -> Any:
    return json.loads(result.stdout)


# Boxes.


def test_a_box_is_made_with_a_policy_from_options(run: Run) -> None:
    result = run(
        "box", "create", "--name", "web", "--label", "team=search", "--allow-domain", "A.test",
        "--allow-domain", "*.b.test", "--allow-cidr", "8.8.8.0/24", "--deny-cidr", "8.8.8.8",
        "--runtime", "node", "-o", "json",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    made = answer(result)
    assert made["network_policy"] == {
        "mode": "custom",
        "allowed_domains": ["a.test", "*.b.test"],
        "allowed_cidrs": ["8.8.8.0/24"],
        "denied_cidrs": ["8.8.8.8/32"],
        "unlisted": "deny",
    }
    assert (made["name"], made["labels"], made["runtime"]) == ("web", {"team": "search"}, "node")


@pytest.mark.parametrize("text", ["mode: deny-all\n", '{"mode": "deny-all"}'])
def test_a_box_is_made_with_a_policy_from_stdin(text: str, run: Run) -> None:
    result = run("box", "create", "-", "-o", "json", stdin=text)

    assert answer(result)["network_policy"] == {"mode": "deny-all"}


def test_only_denied_networks_mean_that_the_rest_is_allowed_and_a_warning_says_so(
    run: Run,
) -> None:
    result = run("box", "create", "--deny-cidr", "8.8.8.0/24")

    assert result.exit_code == 0
    assert "unlisted allow" in result.stdout
    assert "warning: DENY_LIST_ALLOWS_THE_REST" in result.stderr


def test_a_time_to_live_and_a_snapshot(run: Run, box: str) -> None:
    snapshot = answer(run("snapshot", "create", box, "-o", "json"))["id"]

    made = answer(run("box", "create", "--from-snapshot", snapshot, "--ttl", "1h", "-o", "json"))
    kept = answer(run("box", "create", "--from-snapshot", snapshot, "-o", "json"))

    assert made["network_policy"] == {"mode": "deny-all"}
    assert made["expire_time"] is not None
    assert (kept["source_snapshot"], kept["expire_time"]) == (snapshot, None)
    assert run("snapshot", "list", "--box", box).stdout.count("\n") == 2
    assert run("snapshot", "delete", snapshot).stdout == f"deleted {snapshot}\n"
    assert run("snapshot", "delete", snapshot).exit_code == 1


def test_validate_only_makes_nothing(run: Run) -> None:
    result = run("box", "create", "--id", "never", "--mode", "deny-all", "--validate-only")

    assert "nothing was made" in result.stdout
    assert run("box", "get", "never").exit_code == 1


def test_boxes_are_listed_as_a_table_and_as_one_object(run: Run, box: str) -> None:
    text = run("box", "list").stdout.splitlines()
    found = answer(run("box", "list", "--mode", "deny-all", "-o", "json"))

    assert text[0].split() == ["ID", "NAME", "MODE", "ENFORCEMENT", "NODES", "EXPIRES", "LABELS"]
    assert box in [one["id"] for one in found["boxes"]]
    assert all(one["network_policy"]["mode"] == "deny-all" for one in found["boxes"])


def test_a_hostile_name_cannot_act_on_the_terminal(run: Run) -> None:
    for output in ("text", "json"):
        result = run("box", "get", "hostile", "-o", output)
        assert "\x1b" not in result.output
        assert "\u202e" not in result.output


def test_labels_are_changed_one_by_one(run: Run, box: str) -> None:
    run("box", "update", box, "--label", "a=1", "--label", "b=2")
    result = run("box", "update", box, "--label", "b=3", "--remove-label", "a", "-o", "json")

    assert answer(result)["labels"] == {"b": "3"}
    assert answer(run("box", "update", box, "--ttl", "2d", "-o", "json"))["expire_time"]
    assert answer(run("box", "update", box, "--never-expires", "-o", "json"))["expire_time"] is None
    assert answer(run("box", "update", box, "--name", "n", "-o", "json"))["name"] == "n"


def test_boxes_are_deleted(run: Run, box: str) -> None:
    assert run("box", "delete", box).stdout == f"deleted {box}\n"
    gone = run("box", "delete", box)

    assert gone.exit_code == 1
    assert gone.stderr.splitlines() == [
        f"error: there is no box {box}",
        "next: list the boxes with: boxwall box list",
    ]


# Policies.


def test_a_policy_goes_out_as_it_comes_in(run: Run, box: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    run("policy", "set", box, "--allow-domain", "*.a.test")
    file.write_text(run("policy", "get", box).stdout)

    assert run("policy", "set", box, str(file)).exit_code == 0
    assert answer(run("policy", "get", box, "-o", "json"))["allowed_domains"] == ["*.a.test"]
    history = answer(run("policy", "history", box, "-o", "json"))["revisions"]
    assert [one["network_policy"]["mode"] for one in history] == ["custom", "custom", "deny-all"]
    assert run("policy", "history", box, "--limit", "1").stdout.count("\n") == 2


@pytest.mark.parametrize(
    ("box_id", "said"),
    [
        pytest.param("lagging", "node n2 has not acknowledged it yet", id="lags"),
        pytest.param("failing", "could not apply it and denies everything (no memory)", id="fails"),
    ],
)
def test_a_policy_that_is_not_in_force_in_time_is_status_4(
    box_id: str, said: str, run: Run
) -> None:
    result = run("policy", "set", box_id, "--mode", "deny-all", "--wait-timeout", "1s")

    assert result.exit_code == 4
    assert said in result.stderr
    assert "is stored" in result.stderr
    assert f"boxwall box get {box_id}" in result.stderr
    without = run("policy", "set", box_id, "--mode", "deny-all", "--no-wait")
    assert without.exit_code == 0


def test_every_violation_is_shown_with_its_fix(run: Run, box: str) -> None:
    result = run(
        "policy", "set", box, "--allow-domain", "*", "--allow-cidr", "10.0.0.7/24",
        "--deny-cidr", "10.0.0.0/33",
    )  # fmt: skip

    assert result.exit_code == 1
    assert "allowed_domains[0]: " in result.stderr
    assert "allowed_cidrs[0]: 10.0.0.7/24 has host bits set; use 10.0.0.0/24" in result.stderr
    assert "denied_cidrs[0]: " in result.stderr
    assert answer(run("policy", "get", box, "-o", "json")) == {"mode": "deny-all"}


def test_errors_are_json_where_answers_are(run: Run) -> None:
    result = run("box", "get", "nope", "-o", "json")

    assert result.exit_code == 1
    assert json.loads(result.stderr)["error"] == "BoxNotFound"
    assert result.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("-o", "json", "box", "lst"), id="no verb"),
        pytest.param(("--bad", "-o", "json"), id="asked for after a mistake before the verb"),
        pytest.param(("box", "list", "--bad", "--output=json"), id="asked for after a mistake"),
        pytest.param(("box", "update", "b", "-ojson"), id="nothing to change"),
        pytest.param(("-o", "json", "box", "list", "--timeout", "soon"), id="a bad setting"),
        pytest.param(("-o", "text", "server", "--listen", "-o", "json", "--bad"), id="of a server"),
    ],
)
def test_wrong_usage_is_json_where_answers_are(arguments: tuple[str, ...], run: Run) -> None:
    result = run(*arguments)

    assert result.exit_code == 2
    problem = json.loads(result.stderr)
    assert problem["error"] == "UsageError"
    assert problem["status"] == 2
    assert problem["next"].endswith("--help")


def test_wrong_usage_is_json_where_the_environment_or_a_file_says_so(
    run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "boxwall.toml"
    config.write_text('output = "json"\n')

    for arguments, env in (
        (("--bad",), {"BOXWALL_OUTPUT": "json"}),
        (("box", "list", "--bad"), {"BOXWALL_OUTPUT": "json"}),
        (("--config", str(config), "box", "list", "--bad"), {}),
    ):
        assert json.loads(run(*arguments, env=env).stderr)["status"] == 2
    typed = run("box", "list", "-o", "text", "--bad", env={"BOXWALL_OUTPUT": "json"})
    assert typed.stderr.startswith("Usage:")


def test_a_policy_is_validated_for_the_box_as_it_was_read(run: Run, box: str) -> None:
    etag = answer(run("box", "get", box, "-o", "json"))["etag"]
    validate = ("policy", "set", box, "--mode", "deny-all", "--validate-only", "--etag")

    assert run(*validate, etag).exit_code == 0
    refused = run(*validate, "of-yesterday")
    assert refused.exit_code == 1
    assert "read it again" in refused.stderr


def test_a_policy_is_validated_and_nothing_changed(run: Run, box: str) -> None:
    result = run("policy", "set", box, "--mode", "custom", "--validate-only")

    assert "nothing was changed" in result.stdout
    assert "EMPTY_CUSTOM_DENIES_ALL" in result.stderr
    assert answer(run("policy", "get", box, "-o", "json")) == {"mode": "deny-all"}


def test_a_denied_destination_is_status_1(run: Run, box: str) -> None:
    run("policy", "set", box, "--allow-domain", "a.test")

    allowed = run("policy", "check", box, "a.test:443")
    mixed = run("policy", "check", box, "a.test:443", "b.test", "-o", "json")

    assert allowed.exit_code == 0
    assert "ALLOWED_DOMAIN" in allowed.stdout
    assert mixed.exit_code == 1
    verdicts = answer(mixed)["verdicts"]
    assert [(v["destination"], v["allowed"], v["reason"]) for v in verdicts] == [
        ("a.test:443", True, "ALLOWED_DOMAIN"),
        ("b.test", False, "NO_RULE"),
    ]
    assert verdicts[1]["rule"] == {"list": "unlisted", "text": "deny"}


# Without a server.

NOWHERE = {"BOXWALL_SERVER": "unix:/nowhere"}


def test_a_file_is_checked_and_judged_by_without_a_server(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text('mode: custom\nallowed_domains: ["*.com", api.github.com]\n')

    linted = run("policy", "lint", str(file), env=NOWHERE)
    checked = run("policy", "check", "--policy", str(file), "api.github.com:443", env=NOWHERE)
    denied = run("policy", "check", "--policy", str(file), "a.test", "8.8.8.8", env=NOWHERE)

    assert (linted.exit_code, checked.exit_code, denied.exit_code) == (0, 0, 1)
    assert "warning: PUBLIC_SUFFIX_WILDCARD: allowed_domains[0]" in linted.stderr
    assert "NEEDS_NAME" in denied.stdout


def test_a_bad_file_shows_everything_at_once(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "policy.json"
    file.write_text('{"mode": "custom", "allowed_cidrs": ["10.0.0.7/24", "x"], "denid_cidrs": []}')

    text = run("policy", "lint", str(file), env=NOWHERE)
    as_json = run("policy", "lint", str(file), "-o", "json", env=NOWHERE)

    assert (text.exit_code, as_json.exit_code) == (1, 1)
    assert "did you mean denied_cidrs" in text.stderr
    found = answer(as_json)
    assert not found["valid"]
    assert len(found["violations"]) == 3
    assert found["violations"][0].keys() == {"field", "message", "suggestion"}


def test_a_good_file_as_json(run: Run) -> None:
    result = run("policy", "lint", "-", "-o", "json", stdin="mode: deny-all", env=NOWHERE)

    assert answer(result) == {
        "valid": True,
        "violations": [],
        "warnings": [],
        "policy": {"mode": "deny-all"},
    }


# Usage.


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("box", "create", "f", "--mode", "deny-all"), "as FILE or with", id="twice"),
        pytest.param(("box", "create", "--label", "x"), "is not KEY=VALUE", id="label"),
        pytest.param(("box", "create", "--ttl", "soon"), "1h30m", id="duration"),
        pytest.param(("box", "create", "/nowhere"), "cannot be read", id="no file"),
        pytest.param(("box", "update", "b"), "Nothing to change", id="nothing to change"),
        pytest.param(("box", "update", "b", "--ttl", "1", "--never-expires"), "exclude", id="ends"),
        pytest.param(("box", "delete", "a", "b", "--etag", "x"), "one BOX", id="etag of two"),
        pytest.param(("policy", "set", "b"), "as FILE, or with --mode", id="no policy"),
        pytest.param(("policy", "check", "b"), "--policy FILE", id="no destination"),
        pytest.param(("refusals", "b", "--label", "a=b"), "not both", id="box and label"),
        pytest.param(("box", "list", "-o", "xml"), "neither text nor json", id="output"),
        pytest.param(("box", "list", "--timeout", "soon"), "1h30m", id="timeout"),
        pytest.param(("box", "list", "--server", "foo"), "HOST:PORT", id="server"),
        pytest.param(("box", "list", "--config", "/nowhere"), "/nowhere", id="no config"),
        pytest.param(("box", "lst"), "No such command", id="no verb"),
        pytest.param(("policy", "check", "hosted", "http://x/"), "host:port", id="destination"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_right(
    arguments: tuple[str, ...], said: str, run: Run
) -> None:
    result = run(*arguments)

    assert result.exit_code == 2, result.output
    assert said in result.stderr


def test_a_file_that_is_no_text_or_too_large_is_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "garbage"
    file.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run("policy", "lint", str(file)).stderr
    file.write_bytes(b"a" * (1024 * 1024 + 1))
    assert "is larger than" in run("policy", "lint", str(file)).stderr


# Settings.


def test_options_may_stand_before_and_after_the_verb_and_the_last_counts(
    run: Run, address: str
) -> None:
    for arguments in (
        ("--server", address, "-o", "json", "box", "list"),
        ("box", "--server", address, "-o", "json", "list"),
        ("box", "list", "--server", address, "-o", "json"),
        (
            "--server",
            "unix:/nowhere",
            "-o",
            "text",
            "box",
            "list",
            "--server",
            address,
            "-o",
            "json",
        ),
    ):
        result = run(*arguments, env=NOWHERE)
        assert result.exit_code == 0, result.output
        assert "boxes" in answer(result)


def test_settings_come_from_a_file_below_the_environment_below_the_command_line(
    run: Run, address: str, tmp_path: Path
) -> None:
    config = tmp_path / "boxwall.toml"
    config.write_text(f'server = "{address}"\noutput = "json"\ntimeout = 5\n')
    unset = {"BOXWALL_SERVER": ""}

    by_file = run("box", "list", "--config", str(config), env=unset)
    by_environ = run(
        "box", "list", env={**unset, "BOXWALL_CONFIG": str(config), "BOXWALL_OUTPUT": "text"}
    )
    by_flag = run("--config", str(config), "box", "list", "-o", "text", env=unset)

    assert "boxes" in answer(by_file)
    assert by_environ.stdout.startswith("ID")
    assert by_flag.stdout.startswith("ID")


def test_an_unknown_key_is_refused_in_a_file_that_was_named_here(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "boxwall.toml"
    config.write_text('sever = "x"\n')

    named = run("box", "list", "--config", str(config))
    shared = run("box", "list", env={"BOXWALL_CONFIG": str(config)})

    assert named.exit_code == 2
    assert "unknown keys: sever; known are server" in named.stderr
    assert shared.exit_code == 0, "a server on this machine may have the file"


def test_a_token_is_not_sent_in_clear_and_never_shown(run: Run) -> None:
    result = run("box", "list", "--server", "10.0.0.1:1", env={"BOXWALL_TOKEN": "s3cret"})

    assert result.exit_code == 2
    assert "in clear" in result.stderr
    assert "s3cret" not in result.output


def test_a_token_or_its_file_counts_by_where_it_stands(run: Run, tmp_path: Path) -> None:
    file, none = tmp_path / "token", str(tmp_path / "none")
    file.write_text("s3cret\n")

    typed = run("box", "list", "--token-file", str(file), env={"BOXWALL_TOKEN": "x y"})
    ignored = run("box", "list", "--token", "s3cret", env={"BOXWALL_TOKEN_FILE": none})
    both = run("box", "list", env={"BOXWALL_TOKEN_FILE": none, "BOXWALL_TOKEN": "s3cret"})
    missing = run("box", "list", env={"BOXWALL_TOKEN_FILE": none})

    assert (typed.exit_code, ignored.exit_code) == (0, 0), typed.output + ignored.output
    assert (both.exit_code, "not both" in both.stderr) == (2, True)
    assert (missing.exit_code, "cannot be read" in missing.stderr) == (2, True)
    assert "see: boxwall box list --help" in missing.stderr


# Nodes, refusals, doctor, completion.


def test_nodes_are_shown_fenced_and_forgotten(run: Run) -> None:
    assert "CONNECTED" in run("node", "list").stdout
    assert answer(run("node", "get", "n1", "-o", "json"))["agent_version"] == "0.1"
    assert answer(run("node", "fence", "n7", "--reason", "odd", "-o", "json"))["state"] == "FENCED"
    assert "DISCONNECTED" in run("node", "unfence", "n7").stdout
    assert run("node", "forget", "n7").stdout == "forgot n7 and 0 attachments\n"
    assert run("node", "forget", "n1").exit_code == 1
    assert run("node", "get", "n7").exit_code == 1


def test_refusals_that_are_remembered(run: Run) -> None:
    text = run("refusals", "hosted").stdout
    found = answer(run("refusals", "-o", "json"))["refusals"]

    assert "evil.\\x1b[2Jtest:443/tcp" in text
    assert (found[0]["reason"], found[0]["count"]) == ("NO_RULE", 2)
    assert run("refusals", "nope").exit_code == 1


def test_doctor_is_honest(run: Run) -> None:
    there = run("doctor")
    nobody = run("doctor", env=NOWHERE)
    as_json = answer(run("doctor", "-o", "json"))

    assert (there.exit_code, nobody.exit_code) == (0, 3)
    assert "ok    control plane  serving" in there.stdout
    assert "to do: start one with: boxwall up" in nobody.stdout
    assert {one["name"] for one in as_json["findings"]} >= {"Python", "platform", "control plane"}
    if can_be_node():
        names = {one["name"] for one in as_json["findings"]}
        assert names >= {"rules", "table owner", "records", "connections", "agent"}
        assert "no agent answers at" in there.stdout


def can_be_node() -> bool:
    """What only root on Linux is told of."""
    return sys.platform == "linux" and os.geteuid() == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, run: Run) -> None:
    result = run("completion", shell)

    assert result.exit_code == 0
    assert "_BOXWALL_COMPLETE" in result.stdout


def test_help_lists_every_command_and_the_exit_statuses(run: Run) -> None:
    text = run("--help").stdout

    for name in ("up", "box", "policy", "refusals", "snapshot", "node", "server", "doctor"):
        assert f"  {name} " in text
    assert "4 not enforced in time" in " ".join(text.split())

"""A site with an internet that has names and web servers."""

import subprocess
import sys
from pathlib import Path

from fakes.agent_process import Site
from lab.dns import RESOLVER, NameServer
from lab.network import Box, Lab
from lab.web import Web

API, CDN = "api.example.com", "img.cdn.example.com"
POLICY = ("--allow-domain", API, "--allow-domain", "*.cdn.example.com")


class World(Site):
    """It runs until it is closed."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.names = NameServer(lab.internet)
        self.web = Web(lab.internet, folder)
        self.names.zone = {
            API: ["5.5.5.5", "2600:5::5"],
            "*.cdn.example.com": ["6.6.6.6"],
            "evil.example.net": ["5.5.5.5", "2600:5::5"],
            "*.many.example.com": ["5.5.5.5"],
        }
        self._resolv_conf = folder / "resolv.conf"
        self._resolv_conf.write_text("nameserver 8.8.8.8\noptions timeout:2 attempts:1\n")
        super().__init__(lab, folder, "--dns-upstream", RESOLVER)

    def inside(
        self, box: Box, *command: str, timeout: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the box, with a name server that is nobody's."""
        return subprocess.run(
            self.command_inside(box, *command), capture_output=True, text=True, timeout=timeout
        )

    def command_inside(self, box: Box, *command: str) -> tuple[str, ...]:
        """The command line for that."""
        prepare = f'mount --bind {self._resolv_conf} /etc/resolv.conf && exec "$@"'
        return ("ip", "netns", "exec", box.name, "sh", "-c", prepare, "sh", *command)

    def python(self, box: Box, code: str, timeout: float = 30) -> str:
        """What a Python program in the box prints."""
        done = self.inside(box, sys.executable, "-c", code, timeout=timeout)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def curl(self, box: Box, url: str, *more: str) -> subprocess.CompletedProcess[str]:
        """Fetch a URL."""
        known = (
            "--cacert",
            str(self.web.authority),
            "--max-time",
            "10",
            "--silent",
            "--show-error",
        )
        return self.inside(box, "curl", *known, *more, url)

    def close(self) -> None:
        """Stop everything."""
        super().close()
        self.names.close()
        self.web.close()

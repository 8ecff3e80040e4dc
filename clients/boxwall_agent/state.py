"""What must survive a restart without the control plane: one SQLite file.

Attachments with their policies, leases with their names, and the cursor of what was said last. A
policy is written before the kernel is told, so that one that has been in force is never followed by
an older one; what the kernel had closed, or never let pass, is not opened by what is written here
(`wanted.at_start`).
"""

import contextlib
import socket
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from boxwall.policy import Address, InvalidPolicy, Name
from boxwall.wire.policies import policy_from_bytes, policy_to_bytes
from boxwall_agent.errors import StateUnusable
from boxwall_agent.hosted import Hosted, Standing
from boxwall_agent.leases import Lease
from boxwall_agent.marks import Grant
from boxwall_agent.ruleset import Interface

_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE box (
    box_id TEXT PRIMARY KEY,
    standing TEXT NOT NULL,
    uid TEXT NOT NULL,
    revision INTEGER NOT NULL,
    policy BLOB,
    message TEXT NOT NULL
) STRICT;
CREATE TABLE interface (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    box_id TEXT NOT NULL REFERENCES box ON DELETE CASCADE,
    number INTEGER NOT NULL,
    addresses TEXT NOT NULL,
    masquerade INTEGER NOT NULL
) STRICT;
CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_LEASES: Final = """
CREATE TABLE lease (
    box_id TEXT NOT NULL REFERENCES box ON DELETE CASCADE,
    name TEXT NOT NULL,
    address TEXT NOT NULL,
    grant_number INTEGER NOT NULL,
    end REAL NOT NULL,
    PRIMARY KEY (box_id, name, address)
) STRICT, WITHOUT ROWID;
"""
_STEPS: Final = (_SCHEMA, _LEASES)
"""What makes each version of the one before."""
_CURSOR: Final = "cursor"
_DNS_PORT: Final = "dns_port"
_RELAY_PORT: Final = "relay_port"
_PLACE: Final = "place"
_CONTACT: Final = "contact"
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_WAY_OUT: Final = (
    "move it away: what is attached stays closed until it is attached again, or detached"
)
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_NAMESPACE: Final = Path("/proc/self/ns/net")
_SO_NETNS_COOKIE: Final = 71


class State:
    """The file, open. Every method is one transaction; raises StateUnusable, having changed
    nothing.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None, timeout=0)
        except (OSError, sqlite3.Error) as exc:
            raise StateUnusable(f"{path} cannot be opened: {exc}") from exc
        self._path = path
        self._place = _place()
        with self._translated():
            # One agent at a time: the lock is held for as long as the file is open.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            # No sync for each change: what a power failure could lose, the kernel has lost too.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("PRAGMA foreign_keys = ON")
            self._create()
        path.chmod(0o600)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def hosted(self) -> list[Hosted]:
        """Return the boxes. One whose policy cannot be read any more comes back closed."""
        with self._translated():
            interfaces: dict[str, list[Interface]] = {}
            for name, box_id, number, addresses, masquerade in self._database.execute(
                "SELECT name, box_id, number, addresses, masquerade FROM interface"
                " ORDER BY box_id, position"
            ):
                interface = Interface(
                    name=name,
                    index=number,
                    addresses=tuple(map(Address.parse, addresses.split())),
                    masquerade=bool(masquerade),
                )
                interfaces.setdefault(box_id, []).append(interface)
            rows = self._database.execute(
                "SELECT box_id, standing, uid, revision, policy, message FROM box"
            )
            return [_box(row, tuple(interfaces.get(row[0], ()))) for row in rows]

    def cursor(self) -> str:
        """Return where the stream continues. Empty: from the beginning."""
        return self._note(_CURSOR, "")

    @property
    def is_of_this_place(self) -> bool:
        """Whether it was written since this boot, in this network namespace. Elsewhere the names
        and indexes of interfaces mean others.
        """
        return self._note(_PLACE, "") == self._place

    def ports(self) -> tuple[int, int]:
        """Return the ports of DNS and of the relay when the agent ran last; 0: any."""
        with self._translated():
            found = [int(self._note(key, "0")) for key in (_DNS_PORT, _RELAY_PORT)]
        return found[0], found[1]

    def save_ports(self, dns: int, relay: int) -> None:
        """Remember them: connections that an agent has led there go on with the next one."""
        with self._transaction():
            self._save_note(_DNS_PORT, str(dns))
            self._save_note(_RELAY_PORT, str(relay))

    def last_contact(self) -> float | None:
        """Return when the control plane was heard, in seconds since boot. None: not since then."""
        place, _, at = self._note(_CONTACT, "").rpartition(" ")
        with self._translated():
            return float(at) if place == self._place else None

    def save_contact(self, at: float) -> None:
        """Remember when the control plane was heard."""
        with self._transaction():
            self._save_note(_CONTACT, f"{self._place} {at!r}")

    def leases(self) -> dict[str, list[Lease]]:
        """Return the leases, by box. Their ends are in seconds of the monotonic clock, so those of
        before a reboot are worth nothing.
        """
        with self._translated():
            rows = self._database.execute(
                "SELECT box_id, name, address, grant_number, end FROM lease"
            ).fetchall()
            leases: dict[str, list[Lease]] = {}
            for box_id, *row in rows if self.is_of_this_place else ():
                leases.setdefault(box_id, []).append(_lease(*row))
            return leases

    def save_leases(self, box_id: str, leases: Iterable[Lease]) -> None:
        """Remember leases, new or with another end."""
        with self._transaction():
            self._database.executemany(
                "INSERT INTO lease VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " grant_number = excluded.grant_number, end = excluded.end",
                [(box_id, str(one.name), str(one.address), one.grant, one.end) for one in leases],
            )

    def forget_leases(self, leases: Iterable[tuple[str, Lease]]) -> None:
        """These were withdrawn, of these boxes."""
        with self._transaction():
            self._delete_leases(leases)

    def save(
        self,
        boxes: Iterable[Hosted],
        *,
        cursor: str | None = None,
        withdrawn: Iterable[tuple[str, Lease]] = (),
    ) -> None:
        """Remember boxes as they shall be, the cursor if there is a new one, and what of their
        leases was withdrawn. A new box under an old id inherits no lease.
        """
        with self._transaction():
            for hosted in boxes:
                self._save_box(hosted)
            self._delete_leases(withdrawn)
            self._save_note(_PLACE, self._place)
            if cursor is not None:
                self._save_note(_CURSOR, cursor)

    def forget(self, box_id: str) -> None:
        """A box was detached."""
        with self._transaction():
            self._database.execute("DELETE FROM box WHERE box_id = ?", (box_id,))

    def _create(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise StateUnusable(
                f"{self._path} was written by a newer agent (format {version}); update this one"
            )
        for number, step in enumerate(_STEPS[version:], version + 1):
            self._database.executescript(
                f"BEGIN IMMEDIATE; {step} PRAGMA user_version = {number}; COMMIT;"
            )

    def _delete_leases(self, leases: Iterable[tuple[str, Lease]]) -> None:
        self._database.executemany(
            "DELETE FROM lease WHERE box_id = ? AND name = ? AND address = ?",
            [(box_id, str(one.name), str(one.address)) for box_id, one in leases],
        )

    def _save_box(self, hosted: Hosted) -> None:
        policy = None if hosted.policy is None else policy_to_bytes(hosted.policy)
        self._database.execute(
            "DELETE FROM lease WHERE box_id IN"
            " (SELECT box_id FROM box WHERE box_id = ? AND uid <> ?)",
            (hosted.box_id, hosted.uid),
        )
        self._database.execute(
            "INSERT INTO box VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
            " standing = excluded.standing, uid = excluded.uid, revision = excluded.revision,"
            " policy = excluded.policy, message = excluded.message",
            (
                hosted.box_id,
                hosted.standing.name,
                hosted.uid,
                hosted.revision,
                policy,
                hosted.message,
            ),
        )
        self._database.execute("DELETE FROM interface WHERE box_id = ?", (hosted.box_id,))
        self._database.executemany(
            "INSERT INTO interface VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    interface.name,
                    position,
                    hosted.box_id,
                    interface.index,
                    " ".join(map(str, interface.addresses)),
                    interface.masquerade,
                )
                for position, interface in enumerate(hosted.interfaces)
            ],
        )

    def _note(self, key: str, default: str) -> str:
        with self._translated():
            row = self._database.execute("SELECT value FROM note WHERE key = ?", (key,)).fetchone()
            return default if row is None else str(row[0])

    def _save_note(self, key: str, value: str) -> None:
        self._database.execute(
            "INSERT INTO note VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value",
            (key, value),
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._translated():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            reason = str(exc)
            if exc.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                reason = "another agent is using it"
            if exc.sqlite_errorcode in _DAMAGED:
                reason = f"{reason}; {_WAY_OUT}"
            raise StateUnusable(f"{self._path} cannot be used: {reason}") from exc
        except OverflowError as exc:
            raise StateUnusable(f"{self._path} cannot hold what it was given: {exc}") from exc
        except (LookupError, ValueError) as exc:
            raise StateUnusable(f"{self._path} is damaged ({exc}); {_WAY_OUT}") from exc


def _box(
    row: tuple[str, str, str, int, bytes | None, str], interfaces: tuple[Interface, ...]
) -> Hosted:
    box_id, standing, uid, revision, policy, message = row
    hosted = Hosted(box_id=box_id, interfaces=interfaces, uid=uid, revision=revision)
    if policy is None:
        return hosted.closed(Standing[standing], message)
    try:
        known = policy_from_bytes(policy)
    except InvalidPolicy as exc:
        return hosted.closed(Standing.FAILED, f"the remembered policy cannot be read: {exc}")
    return replace(hosted, standing=Standing.ENFORCED, policy=known, message=message)


def _lease(name: str, address: str, grant: int, end: float) -> Lease:
    return Lease(name=Name.parse(name), address=Address.parse(address), grant=Grant(grant), end=end)


def _place() -> str:
    """Names this boot, and this network namespace of it, unlike any other that was or will be."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as here:
        try:
            cookie = here.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8).hex()
        except OSError:  # before Linux 5.14, where an inode may be used again
            cookie = str(_NAMESPACE.stat().st_ino)
    return f"{_BOOT_ID.read_text().strip()} {cookie}"

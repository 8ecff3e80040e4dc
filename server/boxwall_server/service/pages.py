"""Page tokens: where the next page begins, good for the same query only."""

import base64
import binascii
import hashlib
import json
from typing import Final

from boxwall.policy import Violation
from boxwall.wire.errors import ApiError, ErrorReason
from boxwall_server.changes.revision import MAX_REVISION, Revision

_DIGEST: Final = 12


def page_token(query: tuple[object, ...], position: str) -> str:
    """Return the token for the page after `position` of a query.

    `query` is all that decides which rows there are, the tenant included; its repr must tell two
    queries apart.
    """
    packed = _digest(query) + json.dumps(position).encode()
    return base64.urlsafe_b64encode(packed).decode("ascii").rstrip("=")


def position_of(token: str, query: tuple[object, ...]) -> str:
    """Return where the page begins: "" for the first.

    Raises ApiError(INVALID_PAGE_TOKEN) for a token that was made up or belongs to another query.
    """
    if not token:
        return ""
    try:
        packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        position = json.loads(packed[_DIGEST:])
    except (ValueError, binascii.Error) as exc:
        raise _bad_token() from exc
    if packed[:_DIGEST] != _digest(query) or not isinstance(position, str):
        raise _bad_token()
    return position


def revision_of(position: str) -> Revision:
    """Return the revision that a position names; for the first page, one above all.

    Raises ApiError(INVALID_PAGE_TOKEN): a token can be made up.
    """
    if not position:
        return Revision(MAX_REVISION)
    if not (position.isascii() and position.isdecimal()) or int(position) > MAX_REVISION:
        raise _bad_token()
    return Revision(int(position))


def _digest(query: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(repr(query).encode(), digest_size=_DIGEST).digest()


def _bad_token() -> ApiError:
    message = "is not of this query; repeat the filter of the page before, or leave it empty"
    return ApiError(
        ErrorReason.INVALID_PAGE_TOKEN,
        f"page_token {message}",
        violations=(Violation(field="page_token", message=message),),
    )

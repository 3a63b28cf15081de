"""E-mail addresses: validate, compare and mask them. Pure."""

import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from email_validator import ValidatedEmail

MAX_LENGTH = 254
"""Octets of an address (RFC 5321 section 4.5.3.1.3, without the brackets)."""
MAX_LOCAL_PART = 64
"""Octets before the @ (RFC 5321 section 4.5.3.1.1)."""

# Letters, digits and hyphens, one label of them in IDNA's ASCII form.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
SHORTEST_NAME = 4
"""Minimum length of a part before the @ that is also masked on its own; shorter ones are ordinary words."""
_AT = r"(?:@|%40|[+=]40| at |\(at\)|\[at\])"
_BEFORE, _AFTER = r"(?<!\w)(?<!\w[.-])", r"(?!\w)(?![.-]\w)"
# A word that can contain an address, and the parts of a word that can be one. Both match at every position, so a text
# is read in one pass. A search for a whole address would start again at each of a million letters without an @.
_WORD = re.compile(r"""[^\s<>"(),:;]+""")
_ADDRESS = re.compile(r"([^@]+)@[^'@]+|[^@]+|@")
# A part before the @ that needs no further check and stays as it is (RFC 5322 section 3.2.3, dot-atom-text).
_PLAIN_LOCAL = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
# A name that is spelled the same in a URL, in xtext and in Python.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9._~-]+", re.ASCII)
_ENCODED_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(?=(.*\.)?xn--)({_LABEL}\.)*{_LABEL}", re.ASCII | re.IGNORECASE)


def normalised(address: str) -> str:
    """Return an address in the form in which it is stored and mailed.

    Raises ValueError with the reason if no mail can be sent to it. Only the syntax is checked (RFC 5321 section 4.1.2,
    with IDNA for the domain); nothing is looked up, and a domain without a dot can exist inside a company.
    """
    local, _, domain = address.rpartition("@")
    if len(local.encode()) > MAX_LOCAL_PART:
        raise ValueError(f"the part before the @ has more than {MAX_LOCAL_PART} octets")
    if _ENCODED_DOMAIN.fullmatch(domain):
        # It is mailed as it is, whether or not it can be decoded.
        return _not_too_long(f"{_checked_local(local)}@{domain.lower()}")
    if not domain.isascii():
        encoded, decoded = _international(domain)
        local = _checked_local(local)
        return _not_too_long(f"{local}@{encoded if local.isascii() else decoded}")
    if len(address) <= MAX_LENGTH and _PLAIN_LOCAL.fullmatch(local):
        # Many addresses share few domains, and checking a domain takes longer than all the rest.
        return f"{local}@{_plain_domain(domain)}"
    found = _checked(address)
    return found.ascii_email or found.normalized


def _not_too_long(address: str) -> str:
    if len(address.encode()) > MAX_LENGTH:
        raise ValueError(f"the address has more than {MAX_LENGTH} octets")
    return address


@lru_cache(maxsize=1024)
def _plain_domain(domain: str) -> str:
    """Return an ASCII domain as it is stored. Raises ValueError with the reason if it is not valid."""
    return _checked(f"a@{domain}").domain


@lru_cache(maxsize=1024)
def _international(domain: str) -> tuple[str, str]:
    """Return a domain in ASCII and as people read it. Checking one takes over a millisecond."""
    found = _checked(f"a@{domain}")
    return found.ascii_domain or found.domain, found.domain


def ascii_domain(domain: str) -> str:
    """Return a domain in the ASCII form of IDNA, which EHLO needs."""
    return domain if domain.isascii() else _international(domain)[0]


def _checked_local(local: str) -> str:
    found = _checked(f"{local}@example.com")
    return (found.ascii_email or found.normalized).rpartition("@")[0]


def _checked(address: str) -> "ValidatedEmail":
    # Loaded at the first address that needs it, because it takes longer than a client command needs otherwise.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        return validate_email(address, check_deliverability=False, test_environment=True, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def identity(address: str) -> str:
    """Return what two addresses of the same mailbox have in common: the address in lower case.

    `casefold` would make straße@ and strasse@ one mailbox.
    """
    return address.lower()


def hashed(address: str, salt: bytes) -> str:
    """Return a hash by which a mailbox can be recognised, and which reveals nothing to those who lack the salt."""
    return blake2b(identity(address).encode(), digest_size=16, key=salt).hexdigest()


def masked(address: str) -> str:
    """Return an address as it is shown outside the service: `a•••@example.com`."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}" if at else f"{address[:1]}•••"


def all_masked(text: str) -> str:
    """Mask everything that looks like an address in a text, in time linear in its length."""
    return _WORD.sub(lambda word: _ADDRESS.sub(_masked, word[0]), text) if "@" in text else text


def _masked(found: re.Match[str]) -> str:
    return masked(found[0]) if found[1] else found[0]


def without(address: str, text: str) -> str:
    """Mask an address everywhere in a text, in time linear in the text: servers repeat it in their rejections.

    Its @ can be written as in a URL (%40), in a bounce address (=40), in xtext (+40, RFC 3461 section 4) or as the word
    "at". The part before it is also masked on its own, if it is a whole word of at least SHORTEST_NAME characters. A
    label of a host name is not a whole word.
    """
    local, at, domain = address.rpartition("@")
    name = local if at else address
    lowered = text.lower()
    is_name_masked = not at or len(name) >= SHORTEST_NAME
    # Nearly no text has the address, and compiling its pattern takes a hundred times as long as this.
    if not name or not (is_name_masked or domain.lower() in lowered):
        return text
    spellings = _spellings(name)
    if not any(spelling.lower() in lowered for spelling in spellings):
        return text
    written = "|".join(map(re.escape, spellings))
    patterns = [f"(?:{written}){_AT}{re.escape(domain)}"] if at else []
    if is_name_masked:
        patterns.append(f"(?P<name>{_BEFORE}(?:{written}){_AFTER})")
    return re.sub(
        "|".join(patterns),
        lambda found: masked(name if found.groupdict().get("name") else address),
        text,
        flags=re.IGNORECASE,
    )


def _spellings(name: str) -> list[str]:
    """List the spellings of a name, longest first: as it is, percent-encoded, in xtext, and with Python's escapes."""
    if _PLAIN_NAME.fullmatch(name):
        return [name]
    xtext = re.sub("[+=]", lambda char: f"+{ord(char[0]):02X}", name)
    return sorted({name, quote(name, safe=""), xtext, repr(name)[1:-1]}, key=len, reverse=True)

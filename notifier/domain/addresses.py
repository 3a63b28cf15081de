"""E-mail addresses: what can be one, how to compare two, how to show one without giving it away."""

import re
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import quote

from email_validator import EmailNotValidError, ValidatedEmail, validate_email

MAX_LENGTH = 254
"""Octets of an address (RFC 5321 section 4.5.3.1.3, without the brackets)."""
MAX_LOCAL_PART = 64
"""Octets before the @ (RFC 5321 section 4.5.3.1.1)."""

# Letters, digits and hyphens, one label of them in IDNA's ASCII form.
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
SHORTEST_NAME = 4
"""Characters from which on the part before the @ is masked where it stands alone; shorter ones are ordinary words."""
_AT = r"(?:@|%40|[+=]40| at |\(at\)|\[at\])"
_BEFORE, _AFTER = r"(?<!\w)(?<!\w[.-])", r"(?!\w)(?![.-]\w)"
# Words that may hold an address, and in a word what may be one. Both match from wherever they begin, so that a text is
# read in one pass: a search for the whole address would start anew at each of a million letters without an @.
_WORD = re.compile(r"""[^\s<>"(),:;]+""")
_ADDRESS = re.compile(r"([^@]+)@[^'@]+|[^@]+|@")
_ENCODED_DOMAIN = re.compile(rf"(?=.{{1,253}}$)(?=(.*\.)?xn--)({_LABEL}\.)*{_LABEL}", re.ASCII | re.IGNORECASE)


def normalised(address: str) -> str:
    """Bring an address into the one form that is stored and mailed.

    Raises ValueError with the reason where no mail can go there. Only the form is
    judged (RFC 5321 section 4.1.2, with IDNA for the domain); nothing is looked up, and
    a domain without a dot may well exist inside a company.
    """
    local, _, domain = address.rpartition("@")
    if len(local.encode()) > MAX_LOCAL_PART:
        raise ValueError(f"the part before the @ has more than {MAX_LOCAL_PART} octets")
    if _ENCODED_DOMAIN.fullmatch(domain):
        # It is mailed as it stands, whether or not it decodes to anything.
        return _not_too_long(f"{_checked_local(local)}@{domain.lower()}")
    if not domain.isascii():
        encoded, decoded = _international(domain)
        local = _checked_local(local)
        return _not_too_long(f"{local}@{encoded if local.isascii() else decoded}")
    found = _checked(address)
    return found.ascii_email or found.normalized


def _not_too_long(address: str) -> str:
    if len(address.encode()) > MAX_LENGTH:
        raise ValueError(f"the address has more than {MAX_LENGTH} octets")
    return address


@lru_cache(maxsize=1024)
def _international(domain: str) -> tuple[str, str]:
    """Return both forms of a domain, in ASCII and as it is read. Checking one takes over a millisecond."""
    found = _checked(f"a@{domain}")
    return found.ascii_domain or found.domain, found.domain


def ascii_domain(domain: str) -> str:
    """Return a domain in IDNA's ASCII form, as a server must be greeted with it."""
    return domain if domain.isascii() else _international(domain)[0]


def _checked_local(local: str) -> str:
    found = _checked(f"{local}@example.com")
    return (found.ascii_email or found.normalized).rpartition("@")[0]


def _checked(address: str) -> ValidatedEmail:
    try:
        return validate_email(address, check_deliverability=False, test_environment=True, globally_deliverable=False)
    except EmailNotValidError as error:
        raise ValueError(str(error)) from None


def identity(address: str) -> str:
    """Reduce an address to what decides whether two are the same mailbox: letters without case.

    Not `casefold`, for which straße@ and strasse@ would be one mailbox.
    """
    return address.lower()


def hashed(address: str, salt: bytes) -> str:
    """Reduce an address to what tells whether it is the same mailbox again, and gives nothing away without the salt."""
    return blake2b(identity(address).encode(), digest_size=16, key=salt).hexdigest()


def masked(address: str) -> str:
    """Show an address to people who need not know it: `a•••@example.com`."""
    local, at, domain = address.rpartition("@")
    return f"{local[:1]}•••@{domain}" if at else f"{address[:1]}•••"


def all_masked(text: str) -> str:
    """Mask everything in a text that looks like an address, in time linear in its length."""
    return _WORD.sub(lambda word: _ADDRESS.sub(_masked, word[0]), text) if "@" in text else text


def _masked(found: re.Match[str]) -> str:
    return masked(found[0]) if found[1] else found[0]


def without(address: str, text: str) -> str:
    """Mask an address wherever it stands in a text, in time linear in the text: servers repeat it in their rejections.

    Its @ can be written as in a URL (%40), in a bounce address (=40), in xtext (+40, RFC 3461
    section 4) or as the word "at". The part before it is also masked alone, as a whole word
    of at least SHORTEST_NAME characters; a label of a host name is part of a longer word.
    """
    local, at, domain = address.rpartition("@")
    name = local if at else address
    spellings = _spellings(name)
    lowered = text.lower()
    if not name or not any(spelling.lower() in lowered for spelling in spellings):
        return text
    written = "|".join(map(re.escape, spellings))
    patterns = [f"(?:{written}){_AT}{re.escape(domain)}"] if at else []
    if not at or len(name) >= SHORTEST_NAME:
        patterns.append(f"(?P<name>{_BEFORE}(?:{written}){_AFTER})")
    return re.sub(
        "|".join(patterns),
        lambda found: masked(name if found.groupdict().get("name") else address),
        text,
        flags=re.IGNORECASE,
    )


def _spellings(name: str) -> list[str]:
    """List how a name can be written, longest first: as it is, percent-encoded, as xtext, with its escapes."""
    xtext = re.sub("[+=]", lambda char: f"+{ord(char[0]):02X}", name)
    return sorted({name, quote(name, safe=""), xtext, repr(name)[1:-1]}, key=len, reverse=True)

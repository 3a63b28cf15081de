import json
import os
import re
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st
from support.places import DATA

from notifier.domain.addresses import (
    MAX_LOCAL_PART,
    _international,
    _plain_domain,
    all_masked,
    ascii_domain,
    hashed,
    identity,
    masked,
    normalised,
    without,
)

ATOM = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=20
)
LOCAL = st.lists(ATOM, min_size=1, max_size=3).map(".".join)
LABEL = st.from_regex(r"[a-z]([a-z0-9]{0,10}[a-z0-9])?", fullmatch=True)
DOMAIN = st.lists(LABEL, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "com"]))


@given(LOCAL, DOMAIN)
def test_an_ordinary_address_is_accepted_as_it_is(local: str, domain: str) -> None:
    """Any dotted name of atoms at any domain is an address and stays what it is."""
    assert normalised(f"{local}@{domain}") == f"{local}@{domain}"


@pytest.mark.parametrize(
    ("address", "stored"),
    [
        ("Asha@Example.COM", "Asha@example.com"),
        ("asha@bücher.example", "asha@xn--bcher-kva.example"),
        ("пётр@example.com", "пётр@example.com"),
        ("someone@host.test", "someone@host.test"),
        ("a@xn--bcher-kva.example", "a@xn--bcher-kva.example"),
        ("asha@XN--A.example", "asha@xn--a.example"),
    ],
)
def test_an_address_is_brought_into_one_form(address: str, stored: str) -> None:
    """The domain becomes lower case and ASCII; the local part stays as it is."""
    assert normalised(address) == stored


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "asha",
        "@example.com",
        "asha@",
        "asha@@example.com",
        "asha rao@example.com",
        "asha@exam ple.com",
        ".asha@example.com",
        "asha.@example.com",
        "asha..rao@example.com",
        "asha@-example.com",
        "asha@example..com",
        "asha@example.com, other@example.com",
        "Asha <asha@example.com>",
        "asha@example.com\r\nBcc: x@example.com",
        "asha\x00@example.com",
        "asha@example.com\n",
        "a" * 300 + "@example.com",
        "asha@" + "x" * 64 + ".com",
        "a" * 60 + "@xn--a." + ".".join(["b" * 60] * 4),
        "asha@xn--\u212a.example",  # KELVIN SIGN, which is a k without case
    ],
)
def test_what_no_mail_can_go_to_is_refused_with_a_reason(address: str) -> None:
    """An invalid address is a ValueError that says what is wrong."""
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        normalised(address)


@given(
    LOCAL | st.text("aßö", min_size=1, max_size=70), st.lists(st.text("aäß中", min_size=1), max_size=9).map(".".join)
)
def test_an_international_domain_is_checked_as_a_whole_address_is(local: str, domain: str) -> None:
    """Checking local part and domain one by one accepts the same addresses, in the same form."""
    address = f"{local}@ü{domain}.com"
    try:
        found = validate_email(address, check_deliverability=False, test_environment=True, globally_deliverable=False)
    except EmailNotValidError:
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            normalised(address)
    else:
        assert normalised(address) == (found.ascii_email or found.normalized)


@given(
    LOCAL | st.sampled_from(["Info", "SALES", "a..b", ".a", '"a b"', "a" * 65, "a" * 64]), DOMAIN | st.text(max_size=20)
)
@example("a" * 64, ".".join(["b" * 60] * 3) + ".example")
def test_an_ascii_address_is_checked_as_a_whole_address_is(local: str, domain: str) -> None:
    """Checking a domain only once accepts the same addresses, in the same form."""
    address = f"{local}@{domain}"
    try:
        found = validate_email(address, check_deliverability=False, test_environment=True, globally_deliverable=False)
    except EmailNotValidError:
        with pytest.raises(ValueError, match=r"\w"):
            normalised(address)
    else:
        assert len(local) > MAX_LOCAL_PART or normalised(address) == (found.ascii_email or found.normalized)


def test_a_plain_domain_is_checked_once() -> None:
    """Checking it takes longer than all the rest, and most passengers share a few domains."""
    _plain_domain.cache_clear()
    for number in range(100):
        normalised(f"asha{number}@one.example")
    assert _plain_domain.cache_info().misses == 1


def test_an_international_domain_is_checked_once() -> None:
    """Checking it takes over a millisecond, and the passengers of a booking often share it."""
    _international.cache_clear()
    for number in range(100):
        normalised(f"asha{number}@bücher.example")
    assert _international.cache_info().misses == 1


def test_a_local_part_longer_than_64_octets_is_no_address() -> None:
    """RFC 5321 section 4.5.3.1.1: a local part has at most 64 octets."""
    assert normalised("a" * 64 + "@example.com") == "a" * 64 + "@example.com"
    with pytest.raises(ValueError, match=r"\w"):
        normalised("a" * 65 + "@example.com")


@pytest.mark.parametrize(
    ("start", "stored"),
    [
        ("b.", "b."),
        ("xn--bcher-kva.", "xn--bcher-kva."),
        ("bücher.", "xn--bcher-kva."),
    ],
)
def test_an_address_longer_than_254_octets_is_no_address(start: str, stored: str) -> None:
    """RFC 5321 section 4.5.3.1.3, for the form in which it is mailed, with a domain of any kind."""
    local, rest = "a" * 64, ".".join(["c" * 50] * 3)
    fitting = "d" * (254 - len(f"{local}@{stored}{rest}."))
    assert normalised(f"{local}@{start}{rest}.{fitting}") == f"{local}@{stored}{rest}.{fitting}"
    with pytest.raises(ValueError, match=r"too long|more than 254 octets"):
        normalised(f"{local}@{start}{rest}.{fitting}d")


def test_the_parts_of_an_international_address_are_counted_in_octets() -> None:
    """A letter can have several."""
    assert normalised("ö" * 32 + "@example.com") == "ö" * 32 + "@example.com"
    with pytest.raises(ValueError, match=r"^the part before the @ has more than 64 octets$"):
        normalised("ö" * 33 + "@example.com")


def test_a_local_part_that_is_not_ascii_keeps_its_domain_readable() -> None:
    """Only a server with SMTPUTF8 takes such an address, and it reads the domain in both forms."""
    assert normalised("пётр@bücher.example") == "пётр@bücher.example"
    assert normalised("asha@bücher.example") == "asha@xn--bcher-kva.example"


def test_a_domain_has_an_ascii_form() -> None:
    """EHLO needs it."""
    assert [ascii_domain(domain) for domain in ("bücher.example", "Mail.Example.COM")] == [
        "xn--bcher-kva.example",
        "Mail.Example.COM",
    ]


def test_a_hash_is_promised() -> None:
    """Erased addresses are recognised by it, also after an upgrade."""
    assert hashed("asha@example.com", b"salt") == "45d906fbdbc5f5a03d0026afe08887be"


@given(st.text())
def test_no_text_does_more_than_be_refused(text: str) -> None:
    """Any text is either normalised to a form that normalises to itself, or a ValueError."""
    try:
        stored = normalised(text)
    except ValueError:
        return
    assert normalised(stored) == stored


@given(LOCAL, DOMAIN)
def test_letter_case_does_not_tell_mailboxes_apart(local: str, domain: str) -> None:
    """Letter case makes no other mailbox; another local part does."""
    assert identity(f"{local}@{domain}".upper()) == identity(f"{local}@{domain}".lower())
    assert identity(f"{local}@{domain}") != identity(f"x{local}@{domain}")


@given(LOCAL, DOMAIN)
def test_a_masked_address_shows_one_letter_and_the_domain(local: str, domain: str) -> None:
    """Only the first letter of the local part is left, and its length is not visible."""
    assert masked(f"{local}@{domain}") == f"{local[0]}•••@{domain}"


def test_what_is_no_address_is_masked_too() -> None:
    """A text without an @ is masked too, because it was meant as an address."""
    assert masked("asha.rao") == masked("asha rao example.com") == "a•••"
    assert masked("") == "•••"


def test_only_the_domain_of_what_has_several_ats_is_shown() -> None:
    """Whatever is before the last @ can be part of a name."""
    assert masked("asha@rao@example.com") == "a•••@example.com"
    assert without("asha@rao@example.com", "no asha@rao@example.com here") == "no a•••@example.com here"


ADDRESSES = DATA / "addresses.jsonl"


def test_real_oddities_are_judged_as_their_collectors_did() -> None:
    """Several hundred invalid addresses are rejected, and several hundred valid ones accepted."""
    if not ADDRESSES.exists():
        assert not os.environ.get("CI"), "CI has the data"
        pytest.skip("the data of addresses is not here")
    wrong = []
    for line in ADDRESSES.read_text(encoding="utf-8").splitlines():
        given = json.loads(line)
        try:
            found = normalised(given["address"])
        except ValueError:
            found = ""
        if given["expect"] != "either" and bool(found) != (given["expect"] == "accept"):
            wrong.append((given["expect"], given["address"]))
    assert wrong == []


def test_no_address_stands_nowhere_in_a_text() -> None:
    """With an erased address a text stays as it is."""
    assert without("", "the address was erased") == "the address was erased"


def test_a_hash_knows_the_same_mailbox_and_only_with_the_salt() -> None:
    """Letters without case make no difference; another salt or another address does."""
    assert hashed("Asha@example.com", b"s") == hashed("asha@example.com", b"s")
    assert len({hashed("a@example.com", b"s"), hashed("b@example.com", b"s"), hashed("a@example.com", b"t")}) == 3


NAME = LOCAL.map(lambda local: f"zq{local}zq")
"""The part before the @ of a recipient that no word of the texts below contains."""
WRITTEN = st.sampled_from(["{}@{}", "{}%40{}", "{}+40{}", "{}=40{}", "{} at {}", "{}(at){}", "{}[at]{}"])
AROUND = st.sampled_from(
    ["550 5.1.1 <{}>: unknown", "local user {} unknown", "rfc822;{}", "{}.", "no '{}' in /mail/{}", "{}"]
)


@given(NAME | st.just("zq"), DOMAIN, WRITTEN, AROUND, st.sampled_from([str, str.upper]))
def test_a_recipient_is_masked_however_its_at_is_written(
    local: str, domain: str, written: str, text: str, case: Callable[[str], str]
) -> None:
    """As in URLs, bounce addresses and delivery reports, with any letter case, however short its name is."""
    address = f"{local}@{domain}"
    spelling = (
        case(written.format(local, domain)) if "%40" not in written else written.format(case(local), case(domain))
    )
    assert without(address, text.format(spelling, spelling)) == text.format(masked(address), masked(address))


@given(NAME, DOMAIN, AROUND)
def test_a_recipient_is_masked_where_its_name_stands_alone(local: str, domain: str, text: str) -> None:
    """Servers look up the part before the @ and name it without its domain, sometimes encoded."""
    for name in (local, local.upper(), quote(local, safe="")):
        assert without(f"{local}@{domain}", text.format(name, name)) == text.format(masked(local), masked(local))


@pytest.mark.parametrize(
    ("local", "written"),
    [
        ("zq+box=1", "zq+2Bbox+3D1"),
        ("zq+box=1", "zq%2Bbox%3D1"),
        ("zq/box", "zq%2Fbox"),
        ('"zq\\box"', '"zq\\\\box"'),
    ],
)
def test_a_name_is_masked_in_every_encoding(local: str, written: str) -> None:
    """In xtext, in a URL and with Python's escapes, alone and with its domain, in any letter case."""
    address = f"{local}@example.com"
    for text in (written, written.upper(), written.lower()):
        assert without(address, f"550 <{text}@example.com>") == f"550 <{masked(address)}>"
        assert without(address, f"user {text} unknown") == f"user {masked(local)} unknown"


def test_a_short_name_is_masked_only_with_its_domain() -> None:
    """A name of three letters can be an ordinary word; one of four is masked on its own."""
    assert without("ann@example.com", "ann <ann@example.com>") == "ann <a•••@example.com>"
    assert without("anna@example.com", "anna <anna@example.com>") == "a••• <a•••@example.com>"


def test_a_text_that_is_no_address_is_masked_where_it_stands_alone() -> None:
    """A message can name somebody without an @, however short."""
    assert without("asha", "no asha, asharao or asha.rao here") == "no a•••, asharao or asha.rao here"
    assert without("al", "al, Al and alan") == "a•••, a••• and alan"


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("mail@example.com", "see mail.example.net, in-mail-out, webmail and mailbox"),
        ("ann@example.com", "ann is a short name: 5.1.1 ann unknown"),
        ("asha@example.com", "the user ravi is unknown at example.com"),
    ],
)
def test_ordinary_words_are_not_masked(address: str, text: str) -> None:
    """They are parts of longer words or host names, names of fewer than 4 characters, and names of others."""
    assert without(address, text) == text


@given(st.lists(st.sampled_from(["user", "mail.host", "x-post", "unknown", "5.1.1", "<ravi@other.net>"])).map(" ".join))
def test_a_text_that_does_not_name_the_recipient_stays(text: str) -> None:
    """Text about others stays as it is."""
    for address in ("post@example.com", "host@example.com", "know@example.com", "ravi.rao@other.net"):
        assert without(address, text) == text


@given(LOCAL, DOMAIN, st.sampled_from(["550 <{}>: unknown", "to '{}' and {}", "({})", "mailto:{},{}", "{}"]))
def test_every_address_in_a_text_can_be_masked(local: str, domain: str, text: str) -> None:
    """Its surroundings make no difference, and the other words stay."""
    address = f"{local}@{domain}"
    found = all_masked(text.format(address, address))
    assert address not in found
    assert found.count(f"•••@{domain}") == text.count("{}")


def test_a_text_without_an_address_stays() -> None:
    """An @ on its own is no address."""
    for text in ("", "at @ noon", "@", "user@", "@host", "5 @ 3"):
        assert all_masked(text) == text


_SEARCHED = re.compile(r"""[^\s<>"(),:;@]+@[^\s<>"'(),:;@]+""")


@given(st.text("ab@'<>(),:; .\n", max_size=40))
@example("@asha@example.com")
def test_masking_finds_what_a_search_finds(text: str) -> None:
    """The same parts are masked as by a search that starts again at each letter, whatever the text."""
    assert all_masked(text) == _SEARCHED.sub(lambda found: masked(found[0]), text)


@pytest.mark.parametrize("part", ["a", "a@", "@", "a@'", "'", "a@@", "a@b'", "@a'a", "+2B", "a%40a", "a at "])
def test_masking_takes_time_linear_in_the_text(part: str) -> None:
    """Ten times the text takes about ten times as long, whatever a hostile server sends."""
    spent = []
    for length in (2_000, 20_000):
        text = (part * length)[:length] + "@"
        began = time.process_time()
        for _ in range(5):
            all_masked(text)
            for recipient in ("a" * 64 + "@example.com", "+2B" * 21 + "@example.com", "a@a.a"):
                without(recipient, text)
        spent.append(time.process_time() - began)
    assert spent[1] < 30 * max(spent[0], 0.001)

"""No link leads into this machine or its network, however it is written; a public one is read as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from tests.clock import pass_time
from tests.media.places import PUBLIC, PUBLIC6, Answer, Network, Shelf, Stream, redirect, resolve

from luma_mcp.media.safe_http import SafeHttpClient
from luma_mcp.media.sources import LARGEST, ImageError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

HOSTS_INSIDE = """
127.0.0.1 127.0.0.1. 127.1 127.0.1 127.8.9.10 0x7f000001 0x7f.1 0X7F.0.0.1 2130706433 017700000001 0177.1 0 0.0.0.0 0.1
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
[::127.0.0.1] [::ffff:0:127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:a9fe:a9fe::1] [2002:c0a8:1::1] [2001:0:7f00:1::] [2001:0:4136:e378:8000:63bf:80ff:fffe]
[fe80::1] [fe80::1%25eth0] [fe80::1%25lo] [febf::1] [fec0::1] [fc00::1] [fd00:ec2::254] [fd20:ce::254] [ff02::1]
[ff0e::1] [100::1] [2001:db8::1]
10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.254 192.168.0.1 192.168.255.255 169.254.169.254 169.254.170.2 169.254.0.1
2852039166 0xa9fea9fe 0251.0376.169.254 100.64.0.1 100.127.255.254 100.100.100.200 168.63.129.16 [::ffff:168.63.129.16]
192.0.0.1 192.0.0.192 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1
255.255.255.255
localhost localhost. LOCALHOST metadata.google.internal metadata.google.internal. 127.0.0.1.nip.io a9fea9fe.nip.io
intranet six.example scoped.example mapped.example mixed.example mixed6.example
１２７.０.０.１ 127。0。0。1 127．0．0．1 127｡1 ①②⑦.⓪.⓪.① ｌｏｃａｌｈｏｓｔ ⓛocalhost ١٢٧.٠.٠.١
127%2e0%2e0%2e1 %31%32%37.0.0.1 [::1%25 [::1].
"""
NOT_HTTP = """
ftp://public.example/a file:///etc/passwd file://public.example/etc/passwd gopher://public.example/ ws://public.example/
wss://public.example/ data:image/png;base64,AAAA javascript:alert(1) dict://public.example/ mailto:a@public.example
"""
CREDENTIALS = """
http://user@public.example/ http://user:pw@public.example/ http://:pw@public.example/ https://user%40x:pw@public.example/
http://public.example@127.0.0.1/ http://public.example:80@127.0.0.1/ http://127.0.0.1@public.example/
http://public.example\\@127.0.0.1/ http://127.0.0.1\\@public.example/ http://public.example%20@127.0.0.1/
"""
CONFUSING = """
http://127.0.0.1#@public.example/ http://127.0.0.1?@public.example/ http://127.0.0.1/@public.example/
http://127.0.0.1:80#public.example http://127.0.0.1:80\\public.example/ http://[::1 http://::1/ http://127.0.0.1:80:80/
http://public.example%00.nip.io/ http://public.example%2f.127.0.0.1.nip.io/ http://public.example%2f@127.0.0.1.nip.io/
http://[public.example]/ http://[127.0.0.1]/ http://[::1]public.example/ http://. http:/// http://:80/ http://?public.example
http://public.example:0/ http://public.example:65536/ http://public.example:99999/ http://public.example:-1/
http://public.example:80a/
"""
SPACED = [
    "http://127.0.0.1\t/",
    "http://127.0.0.1 /",
    "http:// 127.0.0.1/",
    "http://127.0.0.1\r\nHost: public.example/",
    "http://public.example\n.127.0.0.1/",
    "http://public.example\0.127.0.0.1/",
]
LONG = ["http://public.example:" + "9" * 5000, "http://" + "a" * 300 + ".example/"]
NEVER_IN_A_HEADER = str.maketrans("\r\n\0", "   ")
INSIDE = HOSTS_INSIDE.split()
ATTACKS = [*f"{NOT_HTTP} {CREDENTIALS} {CONFUSING}".split(), *SPACED, *LONG]
NO_LINKS = ["", "http:", "http://", "//public.example/", "public.example", "http:public.example", " http://127.0.0.1/"]


def links(network: httpx2.AsyncBaseTransport, *, allow_private: bool = False, own: str | None = None) -> SafeHttpClient:
    return SafeHttpClient(transport=network, resolve=resolve, allow_private=allow_private, own=own)


async def refused(network: httpx2.AsyncBaseTransport, url: str, *, own: str | None = None) -> ImageError:
    with pytest.raises(ImageError) as caught:
        await links(network, own=own).fetch(url)
    return caught.value


@pytest.mark.parametrize("host", INSIDE, ids=repr)
async def test_a_host_that_is_inside_is_never_connected_to(host: str) -> None:
    for url in (f"http://{host}/", f"https://{host}:8443/secret?secret"):
        network = Network()
        error = await refused(network, url)
        assert network.addresses == []
        assert "secret" not in error.fault


@pytest.mark.parametrize("url", ATTACKS + NO_LINKS, ids=lambda url: repr(url[:50]))
async def test_what_is_no_plain_public_link_is_never_connected_to(url: str) -> None:
    network = Network()
    await refused(network, url)
    assert network.addresses == []


@pytest.mark.parametrize("host", INSIDE, ids=repr)
async def test_no_redirect_leads_inside(host: str) -> None:
    for location in (f"http://{host}/latest/", f"//{host}/"):
        network = Network({"http://public.example/": redirect(location)})
        await refused(network, "http://public.example/")
        assert network.addresses == [PUBLIC]


@pytest.mark.parametrize("location", [*ATTACKS, "//:80/"], ids=lambda url: repr(url[:50]))
async def test_no_redirect_leads_to_what_is_no_plain_public_link(location: str) -> None:
    # From https: what lacks a host would from http be a path of the same place, which is fine.
    network = Network({"https://public.example/": redirect(location.translate(NEVER_IN_A_HEADER))})
    await refused(network, "https://public.example/")
    assert network.addresses == [PUBLIC]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_every_step_of_a_chain_is_checked(status: int) -> None:
    network = Network(
        {
            "http://public.example/": redirect("/second", status),
            "http://public.example/second": redirect("https://other.example/third", status),
            "https://other.example/third": redirect("//169.254.169.254/latest/meta-data/", status),
        }
    )
    await refused(network, "http://public.example/")
    assert network.addresses == [PUBLIC, PUBLIC, PUBLIC6]


async def test_redirects_that_never_end_are_given_up() -> None:
    network = Network(
        {
            "http://public.example/": redirect("http://other.example/"),
            "http://other.example/": redirect("http://public.example/"),
        }
    )
    error = await refused(network, "http://public.example/")
    assert "redirects" in error.fault
    assert len(network.asked) <= 10


class Changing:
    """A name server that says something else each time: the last answer from then on."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[str]:  # noqa: ARG002
        return [self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]]


async def test_the_connection_goes_to_the_address_that_was_checked_whatever_the_name_means_later() -> None:
    network = Network()
    resolver = Changing(PUBLIC, "127.0.0.1")
    assert await SafeHttpClient(transport=network, resolve=resolver).fetch("http://rebinding.example/") == b"a picture"
    assert network.addresses == [PUBLIC]


async def test_a_name_is_checked_anew_when_a_redirect_leads_back_to_it() -> None:
    network = Network({"http://rebinding.example/": redirect("/again")})
    with pytest.raises(ImageError):
        await SafeHttpClient(transport=network, resolve=Changing(PUBLIC, "127.0.0.1")).fetch(
            "http://rebinding.example/"
        )
    assert network.addresses == [PUBLIC]


@pytest.mark.parametrize(
    ("url", "address", "host", "name"),
    [
        ("http://public.example/a.png", PUBLIC, "public.example", "public.example"),
        ("https://public.example/a.png?size=1#top", PUBLIC, "public.example", "public.example"),
        ("https://public.example:443/", PUBLIC, "public.example", "public.example"),
        ("https://Public.Example:8443/", PUBLIC, "public.example:8443", "public.example"),
        (f"http://{PUBLIC}:81/", PUBLIC, f"{PUBLIC}:81", PUBLIC),
        (f"https://[{PUBLIC6}]/", PUBLIC6, f"[{PUBLIC6}]", PUBLIC6),
        (f"http://[{PUBLIC6}]:81/", PUBLIC6, f"[{PUBLIC6}]:81", PUBLIC6),
    ],
    ids=repr,
)
async def test_a_public_link_is_read_at_the_checked_address_under_its_own_name(
    url: str, address: str, host: str, name: str
) -> None:
    network = Network()
    assert await links(network).fetch(url) == b"a picture"
    assert network.addresses == [address]
    assert network.asked[0].headers["host"] == host
    assert network.asked[0].extensions["sni_hostname"] == name


async def test_nothing_that_one_place_says_or_that_this_machine_knows_is_told_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    cookie = {"set-cookie": "session=1; Path=/", "location": "https://other.example/b"}
    network = Network({"https://public.example/a": Answer(302, b"", cookie)})
    reader = links(network)
    for _ in range(2):
        assert await reader.fetch("https://public.example/a") == b"a picture"
    assert [request.headers["host"] for request in network.asked] == ["public.example", "other.example"] * 2
    for request in network.asked:
        assert not {"cookie", "referer", "authorization"} & set(request.headers)


OWN = "http://127.0.0.1:8700/v1/luma"
BESIDE = """
http://127.0.0.1:8701 http://127.0.0.1 https://127.0.0.1:8700 http://127.0.0.2:8700 http://[::1]:8700
http://localhost:8700 http://127.1:8700 http://me@127.0.0.1:8700
"""


async def test_the_own_api_may_be_read() -> None:
    network = Network()
    assert await links(network, own=OWN).fetch("http://127.0.0.1:8700/media/a.png") == b"a picture"
    assert network.addresses == ["127.0.0.1"]


@pytest.mark.parametrize("origin", BESIDE.split(), ids=repr)
async def test_nothing_beside_the_own_api_may_be_read(origin: str) -> None:
    network = Network({"http://127.0.0.1:8700/": redirect(f"{origin}/")})
    await refused(network, f"{origin}/media/a.png", own=OWN)
    await refused(network, "http://127.0.0.1:8700/", own=OWN)
    assert network.addresses == ["127.0.0.1"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:81/", "https://intranet/a", "http://[fd00::7]/"], ids=repr)
async def test_the_own_network_may_be_read_where_that_is_allowed(url: str) -> None:
    network = Network({"http://public.example/": redirect(url)})
    reader = links(network, allow_private=True)
    assert await reader.fetch(url) == await reader.fetch("http://public.example/") == b"a picture"


@pytest.mark.parametrize("url", ["ftp://intranet/a", "http://me:pw@intranet/", "http://intranet:99999/"], ids=repr)
async def test_what_is_no_plain_link_stays_refused_where_the_own_network_is_allowed(url: str) -> None:
    network = Network()
    with pytest.raises(ImageError):
        await links(network, allow_private=True).fetch(url)
    assert network.addresses == []


class Pouring(httpx2.AsyncBaseTransport):
    """Answers a megabyte at a time, without an end or until `megabytes` are sent; `every` so many seconds."""

    def __init__(self, megabytes: float = float("inf"), *, every: float = 0) -> None:
        self.pulled, self._end, self._every = 0, megabytes, every

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:  # noqa: ARG002
        return httpx2.Response(200, stream=Stream(self._pour()))

    async def _pour(self) -> AsyncGenerator[bytes]:
        while self.pulled < self._end:
            await pass_time(self._every)
            self.pulled += 1
            yield bytes(1_000_000)


async def test_an_answer_without_an_end_is_left_soon_after_the_limit() -> None:
    pouring = Pouring()
    error = await refused(pouring, "http://public.example/")
    assert "larger than 100 MB" in error.fault
    assert pouring.pulled == LARGEST // 1_000_000 + 1


async def test_a_picture_as_large_as_the_limit_is_read() -> None:
    assert len(await links(Pouring(100)).fetch("http://public.example/")) == LARGEST


async def test_a_drip_is_ended_by_the_time_that_all_may_take() -> None:
    start = anyio.current_time()
    error = await refused(Pouring(every=20), "http://public.example/")
    assert error.passing
    assert anyio.current_time() - start == pytest.approx(60)


@pytest.mark.parametrize("encoding", ["gzip", "br", "GZIP", "identity, gzip"], ids=repr)
async def test_a_compressed_answer_is_refused_since_its_size_is_not_known(encoding: str) -> None:
    network = Network({"http://public.example/": Answer(200, b"\x1f\x8b", {"content-encoding": encoding})})
    assert "compressed" in (await refused(network, "http://public.example/")).fault
    assert network.asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("status", "passing"),
    [(404, False), (401, False), (403, False), (410, False), (204, False), (408, True), (429, True), (500, True)],
)
async def test_another_answer_is_told_by_its_number_alone(status: int, passing: bool) -> None:
    error = await refused(Network({"http://public.example/": Answer(status, b"secret")}), "http://public.example/")
    assert str(status) in error.fault
    assert "secret" not in error.fault
    assert error.passing is passing


async def test_a_host_that_is_not_found_may_be_later() -> None:
    error = await refused(Network(), "http://nowhere.example/")
    assert "not found" in error.fault
    assert error.passing


async def test_an_answer_that_breaks_off_may_be_whole_later() -> None:
    assert (await refused(Shelf(b"secret" * 500, breaks=[500]), "http://public.example/")).passing

"""What an image parameter's text is taken for."""

from __future__ import annotations

import base64

import pytest

from luma_mcp.media.sources import LARGEST, ImageError, Kind, parse_source, read_data_uri

ASSET = "u12345-email:studio@example.com-image:0f8fad5b-d9cb-469f-a165-70867728950e"
JOBID = "j0326140530123456789v-u12345-email:studio@example.com-video:a1b2c3d4-0000-4000-8000-000000000000-bot:luma"
LINK = "https://example.com/a%20b.png?size=large&x='y'#top"
BYTES = bytes(range(256))
BASE64 = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    ("text", "kind", "meant"),
    [
        (ASSET, Kind.ASSET, ASSET),
        (f"  {ASSET}\n", Kind.ASSET, ASSET),
        (JOBID, Kind.JOB, JOBID),
        (f'"{JOBID}"', Kind.JOB, JOBID),
        (LINK, Kind.LINK, LINK),
        ("http://example.com/a.png", Kind.LINK, "http://example.com/a.png"),
        ("HTTPS://EXAMPLE.COM/A.PNG", Kind.LINK, "HTTPS://EXAMPLE.COM/A.PNG"),
        (f"`{LINK}`", Kind.LINK, LINK),
        ("/photos/me/a b.png", Kind.FILE, "/photos/me/a b.png"),
        ("'/photos/me/a b.png'", Kind.FILE, "/photos/me/a b.png"),
        ("/photos/me/12:30.png", Kind.FILE, "/photos/me/12:30.png"),
        ("/photos/me/j1-bot:luma", Kind.FILE, "/photos/me/j1-bot:luma"),
        ("~/a.png", Kind.FILE, "/photos/of/me/a.png"),
        ("file:///photos/me/a%20b.png", Kind.FILE, "/photos/me/a b.png"),
        ("file:/photos/me/a.png", Kind.FILE, "/photos/me/a.png"),
        ("file://localhost/photos/me/a.png", Kind.FILE, "/photos/me/a.png"),
        ("data:image/png;base64,iVBORw0KGgo=", Kind.DATA, "data:image/png;base64,iVBORw0KGgo="),
        ("DATA:,x", Kind.DATA, "DATA:,x"),
        ("data:,file:///etc/passwd", Kind.DATA, "data:,file:///etc/passwd"),
    ],
    ids=repr,
)
def test_each_form_is_taken_for_what_it_is(text: str, kind: Kind, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/photos/of/me")
    source = parse_source(text, windows=False)
    assert (source.kind, source.text) == (kind, meant)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (r"C:\Photos\me\a b.png", r"C:\Photos\me\a b.png"),
        (r'"C:\Photos\me\a b.png"', r"C:\Photos\me\a b.png"),
        ("c:/Photos/me/a.png", "c:/Photos/me/a.png"),
        (r"D:\console\nullable\com10.png", r"D:\console\nullable\com10.png"),
        ("file:///C:/Photos/me/a%20b.png", "C:/Photos/me/a b.png"),
        ("file://localhost/C:/Photos/me/a.png", "C:/Photos/me/a.png"),
        ("file:/C:/Photos/me/a.png", "C:/Photos/me/a.png"),
    ],
    ids=repr,
)
def test_a_windows_path_is_taken_as_it_is_there(text: str, path: str) -> None:
    source = parse_source(text, windows=True)
    assert (source.kind, source.text) == (Kind.FILE, path)


@pytest.mark.parametrize("text", [ASSET, JOBID, LINK, "data:,x"], ids=repr)
def test_what_is_no_path_means_the_same_on_windows(text: str) -> None:
    assert parse_source(text, windows=True) == parse_source(text, windows=False)


@pytest.mark.parametrize("text", [r"C:\Photos\me\a.png", "C:/a.png", r"\a.png", "C:a.png"], ids=repr)
def test_a_windows_path_on_another_system_is_named_as_such(text: str) -> None:
    with pytest.raises(ImageError, match="Windows path"):
        parse_source(text, windows=False)


def test_the_id_of_a_job_that_is_known_is_one_whatever_it_looks_like() -> None:
    assert parse_source("job-of-tomorrow:7", is_jobid="job-of-tomorrow:7".__eq__).kind is Kind.JOB
    assert parse_source("job-of-tomorrow:7").kind is Kind.ASSET


@pytest.mark.parametrize(
    "text",
    ["sandbox:/mnt/data/a.png", "attachment://1", "blob:https://chat.example/1", "cid:a@b", "content://media/1"],
    ids=repr,
)
def test_what_only_the_chat_application_can_reach_is_refused_as_that(text: str) -> None:
    with pytest.raises(ImageError, match="chat application"):
        parse_source(text)


@pytest.mark.parametrize("text", ["ftp://a/b.png", "s3://bucket/a.png", "javascript:alert(1)", "x-y://z"], ids=repr)
def test_an_address_that_is_not_fetched_is_refused_by_its_scheme(text: str) -> None:
    with pytest.raises(ImageError, match=text.split(":", maxsplit=1)[0]):
        parse_source(text)


@pytest.mark.parametrize("text", ["", "  ", "''", "a cat on a roof", "a.png", "./a.png", "pictures/a.png"], ids=repr)
def test_what_is_none_of_the_forms_is_answered_with_all_of_them(text: str) -> None:
    with pytest.raises(ImageError, match=r"assetRef.*jobid.*https.*path.*data"):
        parse_source(text, windows=False)


@pytest.mark.parametrize("start", ["iVBORw0KGgo", "/9j/4AAQSkZJRg"], ids=["PNG", "JPEG"])
def test_base64_alone_is_answered_with_what_is_missing(start: str) -> None:
    with pytest.raises(ImageError, match="data:image/jpeg;base64,") as refused:
        parse_source(start + "A" * 5000)
    assert "AAAA" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:IMAGE/PNG;BASE64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;name=a.png;base64,{BASE64}",
        f"data:text/html;base64,{BASE64}",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(BYTES).decode()}",
        f"data:image/png;base64,{base64.urlsafe_b64encode(BYTES).decode().rstrip('=')}",
        f"data:image/png;base64, {BASE64[:76]}\r\n{BASE64[76:]}\n",
        "data:image/png;base64," + BASE64.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        "data:application/octet-stream," + "".join(f"%{byte:02x}" for byte in BYTES),
    ],
    ids=lambda uri: uri[:40] + uri[-6:],
)
def test_a_data_uri_is_read_in_every_spelling(uri: str) -> None:
    assert read_data_uri(parse_source(uri).text) == BYTES


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("data:image/png;base64", "without data"),
        ("data:", "without data"),
        ("data:,", "without data"),
        ("data:image/png;base64,", "without data"),
        ("data:image/png;base64,  \n", "without data"),
        ("data:image/png;base64,swordfish", "broken"),
        ("data:image/png;base64,swordfis!", "broken"),
        ("data:image/png;base64,c3dv=cmRm", "broken"),
        ("data:image/png;base64,größe", "broken"),
        ("data:image/png;base64,%ff%fe", "broken"),
        ("data:image/png;base64,\ud800AAA", "broken"),
        ("data:,swordfish\ud800", "data: URI"),
    ],
    ids=ascii,
)
def test_a_data_uri_that_is_broken_is_refused_without_quoting_it(uri: str, said: str) -> None:
    with pytest.raises(ImageError, match=said) as refused:
        read_data_uri(parse_source(uri).text)
    assert "swordf" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "letters"), [("data:;base64,", LARGEST // 3 * 4 + 8), ("data:,", LARGEST + 1)], ids=repr
)
def test_a_data_uri_that_is_too_large_is_refused(head: str, letters: int) -> None:
    with pytest.raises(ImageError, match="100 MB"):
        read_data_uri(head + "A" * letters)

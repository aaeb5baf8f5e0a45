"""Parsing the value of an image parameter."""

from __future__ import annotations

import base64

import pytest

from luma_mcp.media.sources import LARGEST_INPUT, ImageError, SourceKind, parse_source, read_data_uri

ASSET = "u12345-email:studio@example.com-image:0f8fad5b-d9cb-469f-a165-70867728950e"
JOBID = "j0326140530123456789v-u12345-email:studio@example.com-video:a1b2c3d4-0000-4000-8000-000000000000-bot:luma"
LINK = "https://example.com/a%20b.png?size=large&x='y'#top"
BYTES = bytes(range(256))
BASE64 = base64.b64encode(BYTES).decode()


@pytest.mark.parametrize(
    ("text", "kind", "parsed"),
    [
        (ASSET, SourceKind.ASSET, ASSET),
        (f"  {ASSET}\n", SourceKind.ASSET, ASSET),
        (JOBID, SourceKind.JOB, JOBID),
        (f'"{JOBID}"', SourceKind.JOB, JOBID),
        (LINK, SourceKind.LINK, LINK),
        ("http://example.com/a.png", SourceKind.LINK, "http://example.com/a.png"),
        ("HTTPS://EXAMPLE.COM/A.PNG", SourceKind.LINK, "HTTPS://EXAMPLE.COM/A.PNG"),
        (f"`{LINK}`", SourceKind.LINK, LINK),
        ("/photos/me/a b.png", SourceKind.FILE, "/photos/me/a b.png"),
        ("'/photos/me/a b.png'", SourceKind.FILE, "/photos/me/a b.png"),
        ("/photos/me/12:30.png", SourceKind.FILE, "/photos/me/12:30.png"),
        ("/photos/me/j1-bot:luma", SourceKind.FILE, "/photos/me/j1-bot:luma"),
        ("~/a.png", SourceKind.FILE, "/photos/of/me/a.png"),
        ("file:///photos/me/a%20b.png", SourceKind.FILE, "/photos/me/a b.png"),
        ("file:/photos/me/a.png", SourceKind.FILE, "/photos/me/a.png"),
        ("file://localhost/photos/me/a.png", SourceKind.FILE, "/photos/me/a.png"),
        ("data:image/png;base64,iVBORw0KGgo=", SourceKind.DATA, "data:image/png;base64,iVBORw0KGgo="),
        ("DATA:,x", SourceKind.DATA, "DATA:,x"),
        ("data:,file:///etc/passwd", SourceKind.DATA, "data:,file:///etc/passwd"),
    ],
    ids=repr,
)
def test_each_kind_of_source(text: str, kind: SourceKind, parsed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/photos/of/me")
    source = parse_source(text, windows=False)
    assert (source.kind, source.text) == (kind, parsed)


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
def test_windows_path_is_accepted_on_windows(text: str, path: str) -> None:
    source = parse_source(text, windows=True)
    assert (source.kind, source.text) == (SourceKind.FILE, path)


@pytest.mark.parametrize("text", [ASSET, JOBID, LINK, "data:,x"], ids=repr)
def test_other_sources_are_the_same_on_windows(text: str) -> None:
    assert parse_source(text, windows=True) == parse_source(text, windows=False)


@pytest.mark.parametrize("text", [r"C:\Photos\me\a.png", "C:/a.png", r"\a.png", "C:a.png"], ids=repr)
def test_windows_path_is_rejected_on_other_systems(text: str) -> None:
    with pytest.raises(ImageError, match="Windows path"):
        parse_source(text, windows=False)


def test_known_jobid_can_have_any_form() -> None:
    assert parse_source("job-of-tomorrow:7", is_jobid="job-of-tomorrow:7".__eq__).kind is SourceKind.JOB
    assert parse_source("job-of-tomorrow:7").kind is SourceKind.ASSET


@pytest.mark.parametrize(
    "text",
    ["sandbox:/mnt/data/a.png", "attachment://1", "blob:https://chat.example/1", "cid:a@b", "content://media/1"],
    ids=repr,
)
def test_address_inside_the_chat_application_is_rejected(text: str) -> None:
    with pytest.raises(ImageError, match="chat application"):
        parse_source(text)


@pytest.mark.parametrize("text", ["ftp://a/b.png", "s3://bucket/a.png", "javascript:alert(1)", "x-y://z"], ids=repr)
def test_rejection_names_the_unsupported_scheme(text: str) -> None:
    with pytest.raises(ImageError, match=text.split(":", maxsplit=1)[0]):
        parse_source(text)


@pytest.mark.parametrize("text", ["", "  ", "''", "a cat on a roof", "a.png", "./a.png", "pictures/a.png"], ids=repr)
def test_rejection_of_other_text_lists_the_accepted_kinds(text: str) -> None:
    with pytest.raises(ImageError, match=r"assetRef.*jobid.*https.*path.*data"):
        parse_source(text, windows=False)


@pytest.mark.parametrize("start", ["iVBORw0KGgo", "/9j/4AAQSkZJRg"], ids=["PNG", "JPEG"])
def test_bare_base64_needs_a_prefix(start: str) -> None:
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
def test_each_form_of_a_data_uri_is_read(uri: str) -> None:
    assert read_data_uri(parse_source(uri).text) == BYTES


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("data:image/png;base64", "without data"),
        ("data:", "without data"),
        ("data:,", "without data"),
        ("data:image/png;base64,", "without data"),
        ("data:image/png;base64,  \n", "without data"),
        ("data:image/png;base64,swordfish", "invalid"),
        ("data:image/png;base64,swordfis!", "invalid"),
        ("data:image/png;base64,c3dv=cmRm", "invalid"),
        ("data:image/png;base64,größe", "invalid"),
        ("data:image/png;base64,%ff%fe", "invalid"),
        ("data:image/png;base64,\ud800AAA", "invalid"),
        ("data:,swordfish\ud800", "data: URI"),
    ],
    ids=ascii,
)
def test_error_about_a_broken_data_uri_does_not_quote_it(uri: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as refused:
        read_data_uri(parse_source(uri).text)
    assert "swordf" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "letters"), [("data:;base64,", LARGEST_INPUT // 3 * 4 + 8), ("data:,", LARGEST_INPUT + 1)], ids=repr
)
def test_data_uri_that_is_too_large_is_rejected(head: str, letters: int) -> None:
    with pytest.raises(ImageError, match="100 MB"):
        read_data_uri(head + "A" * letters)

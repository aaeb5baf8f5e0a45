"""A host's configuration file as a text: our entry in it, and the same text with another one or without."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luma_mcp.install.entry import Entry, editor_of, fields_of, path_of, read_entry
from luma_mcp.install.errors import InstallError, ParseError, Unparsable, WrongShape, bounded
from luma_mcp.install.files import read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from luma_mcp.hosts import Host

BOM = "\ufeff"
BY_HAND = "Mend it there, or add the entry by hand: luma-ray-mcp install {host} --print shows it."


@dataclass(frozen=True, slots=True)
class Config:
    """A file's text, as it was read. Its methods return texts, and write nothing."""

    host: Host
    path: Path
    text: str

    @classmethod
    def decode(cls, host: Host, path: Path, data: bytes | None) -> Config:
        """The text of a file; of one that is not there, an empty one.

        Raises:
            Unparsable: it is not UTF-8.
        """
        try:
            return cls(host, path, (data or b"").decode())
        except UnicodeDecodeError as error:
            mend = f"Save it as UTF-8, and try again. {BY_HAND.format(host=host.id)}"
            raise Unparsable(path, f"this is not UTF-8 (byte {error.start + 1}).", mend) from error

    @property
    def body(self) -> str:
        """The text without its byte order mark."""
        return self.text.removeprefix(BOM)

    def entry(self) -> Entry | None:
        """Our entry as it stands.

        Raises:
            InstallError: the file cannot be read, or something else is in its place.
        """
        said = self._said()
        return None if said is None else read_entry(said)

    def with_entry(self, wanted: Entry, *, replace: bool = False) -> str:
        """The text with that entry; with `replace`, in place of whatever is there under our name.

        Of an entry of ours everything is kept that is not given anew: other variables, other fields.

        Raises:
            InstallError: the file cannot be read, or is written in a way that cannot be changed safely.
        """
        path, said = path_of(self.host), self._said()
        put, cut = editor_of(self.host).put, editor_of(self.host).cut
        if said is None or replace:
            return self._changed(lambda text: put(text, path, fields_of(self.host, wanted)))

        def update(text: str) -> str:
            kept = [name for name in self.host.fields if name in said]
            # Words that its owner has put behind ours stay.
            if wanted.args and read_entry(said).args[: len(wanted.args)] == wanted.args:
                kept.append("args")
            for name, value in fields_of(self.host, wanted).items():
                if name in kept:
                    continue
                if name == "env" and "env" in said:
                    for variable, content in wanted.env.items():
                        text = put(text, (*path, "env", variable), content)
                else:
                    text = put(text, (*path, name), value)
            return text if wanted.args or not said.get("args") else cut(text, (*path, "args"))

        return self._changed(update)

    def without_entry(self) -> str:
        """The text without our entry.

        Raises:
            InstallError: the file cannot be read, or is written in a way that cannot be changed safely.
        """
        self._said()
        return self._changed(lambda text: editor_of(self.host).cut(text, path_of(self.host)))

    def spans(self) -> list[tuple[int, int]]:
        """Where our entry is in the body.

        Raises:
            InstallError: the file cannot be read.
        """
        try:
            return editor_of(self.host).spans(self.body, path_of(self.host))
        except ParseError as flaw:
            raise self._fault(flaw) from flaw

    def _said(self) -> dict[str, Any] | None:
        key, name = path_of(self.host)
        try:
            servers = self._load(self.body).get(key, {})
            # Also tells whether a name on the way is there twice.
            spans = editor_of(self.host).spans(self.body, path_of(self.host)) if isinstance(servers, dict) else []
        except ParseError as flaw:
            raise self._fault(flaw) from flaw
        if not isinstance(servers, dict):
            raise self._fault(self._taken((key,), "is no object with servers in it"))
        said = servers.get(name)
        if spans and not isinstance(said, dict):
            raise self._fault(self._taken((key, name), "is no server"))
        return said

    def _taken(self, path: tuple[str, ...], what: str) -> ParseError:
        try:
            spans = editor_of(self.host).spans(self.body, path)
        except ParseError as flaw:
            return flaw
        return ParseError(f'"{path[-1]}" is here, but {what}.', spans[0][0] if spans else 0, parsed=True)

    def _changed(self, change: Callable[[str], str]) -> str:
        """The text after a change that has touched our entry alone.

        Everything else was to stay as it is; whether it says what it said is looked at again, as these are other
        people's files.
        """
        try:
            after = change(self.body)
            unharmed = self._rest(after) == self._rest(self.body)
        except ParseError as flaw:
            raise self._fault(flaw) from flaw
        if not unharmed:
            raise self._fault(ParseError("this is written in a way that luma-ray-mcp does not change.", 0, parsed=True))
        return BOM + after if self.text.startswith(BOM) else after

    @bounded
    def _rest(self, text: str) -> str:
        key, name = path_of(self.host)
        data = self._load(text)
        servers = {**data.get(key, {})}
        servers.pop(name, None)
        # As text: `nan` equals itself there, and 1 is not 1.0.
        return repr({k: v for k, v in data.items() if k != key}) + repr(servers)

    def _load(self, text: str) -> dict[str, Any]:
        return editor_of(self.host).load(text, comments=self.host.format != "json")

    def _fault(self, flaw: ParseError) -> InstallError:
        lines = re.split(r"\r\n|\r|\n", self.body[: flaw.at])
        kind = WrongShape if flaw.parsed else Unparsable
        return kind(self.path, flaw.what, BY_HAND.format(host=self.host.id), line=len(lines), column=len(lines[-1]) + 1)


def installed(host: Host, path: Path) -> Entry | None:
    """Our entry in that file as it stands; None where there is none, or no file.

    Raises:
        InstallError: the file cannot be read.
    """
    return Config.decode(host, path, read(path).data).entry()

"""Sealing: bound to its place, opened by the right key only, and never shown."""

from __future__ import annotations

import itertools
import stat
import traceback
from pathlib import Path

import pytest
import tink
from hypothesis import given
from hypothesis import strategies as st
from tink import aead, json_proto_keyset_format, mac, secret_key_access

from grantkeeper.crypto import RootKeyset, create_root_keyset, load_root_keyset, wrapping_key_id
from grantkeeper.errors import ConfigError, SealError

mac.register()


def keyset_text(template: object = aead.aead_key_templates.AES256_GCM) -> str:
    """A fresh keyset in Tink's JSON format."""
    handle = tink.new_keyset_handle(template)
    text: str = json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN)
    return text


ROOT = RootKeyset.parse(keyset_text(), "test")
WRAPPED = ROOT.new_account_keyset("account-1")
CIPHER = ROOT.open_account("account-1", WRAPPED)
PLACE = ("connections", "row-1", "sealed_tokens")


@given(st.binary(max_size=2000))
def test_what_is_sealed_opens(plaintext: bytes) -> None:
    """Any bytes come back, are not readable meanwhile, and are sealed differently each time."""
    sealed = CIPHER.seal(plaintext, *PLACE)
    assert CIPHER.open(sealed, *PLACE) == plaintext
    assert len(plaintext) < 4 or plaintext not in sealed
    assert CIPHER.seal(plaintext, *PLACE) != sealed


@pytest.mark.parametrize(
    "place",
    [
        ("revocations", "row-1", "sealed_tokens"),
        ("connections", "row-2", "sealed_tokens"),
        ("connections", "row-1", "sealed_grant"),
        ("connections", "row-1sealed", "_tokens"),
        ("", "", ""),
    ],
)
def test_a_sealed_value_opens_in_its_place_only(place: tuple[str, str, str]) -> None:
    """Another table, row or column is refused, and the error names the place, not the value."""
    with pytest.raises(SealError) as caught:
        CIPHER.open(CIPHER.seal(b"secret", *PLACE), *place)
    assert str(caught.value) == f"{place[0]}.{place[2]} of {place[1]} does not open with its account's key"


def test_a_sealed_value_opens_for_its_account_only() -> None:
    """Neither another account's key nor the same key under another account's name opens it."""
    sealed = CIPHER.seal(b"secret", *PLACE)
    other = ROOT.open_account("account-2", ROOT.new_account_keyset("account-2"))
    with pytest.raises(SealError):
        other.open(sealed, *PLACE)
    with pytest.raises(SealError, match="the keyset of account account-2 does not open"):
        ROOT.open_account("account-2", WRAPPED)


@given(st.data())
def test_a_changed_value_does_not_open(data: st.DataObject) -> None:
    """One flipped bit anywhere, or bytes cut off, is refused."""
    sealed = bytearray(CIPHER.seal(b"secret", *PLACE))
    position = data.draw(st.integers(0, len(sealed) - 1))
    if data.draw(st.booleans()):
        sealed[position] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del sealed[position:]
    with pytest.raises(SealError):
        CIPHER.open(bytes(sealed), *PLACE)


def test_a_wrapped_keyset_tells_which_root_key_it_wants() -> None:
    """The id of the key that is missing stands in the error; what is too short wants none."""
    assert wrapping_key_id(WRAPPED) == ROOT.primary_key_id
    assert ROOT.missing([WRAPPED]) == set()
    stranger = RootKeyset.parse(keyset_text(), "test")
    assert stranger.missing([WRAPPED]) == {ROOT.primary_key_id}
    with pytest.raises(SealError, match=str(ROOT.primary_key_id)):
        stranger.open_account("account-1", WRAPPED)
    for rubbish in (b"", b"x", b"x" * 100):
        with pytest.raises(SealError):
            ROOT.open_account("account-1", rubbish)


def test_accounts_have_keys_of_their_own() -> None:
    """Two keysets for one account differ: each account is a key of its own to destroy."""
    assert ROOT.new_account_keyset("account-1") != WRAPPED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "null",
        "secret-words",
        '{"primaryKeyId": 1, "key": ["secret-words"]}',
        keyset_text(mac.mac_key_templates.HMAC_SHA256_128BITTAG),
        keyset_text()[:-20],
        keyset_text().replace("ENABLED", "DISABLED"),
        keyset_text().replace("AesGcmKey", "NopeKey"),
    ],
)
def test_what_is_no_keyset_is_refused_without_being_quoted(text: str) -> None:
    """Other JSON, another kind of key, a keyset without a usable key: the error names the source only."""
    with pytest.raises(ConfigError) as caught:
        RootKeyset.parse(text, "the-source")
    assert caught.value.problems == ["the-source: is not a Tink AEAD keyset in JSON; `grantkeeper init` creates one"]
    assert "secret-words" not in "".join(traceback.format_exception(caught.value))


def test_reprs_show_no_key() -> None:
    """The root keyset shows ids; a cipher shows nothing."""
    text = keyset_text()
    root = RootKeyset.parse(text, "test")
    assert repr(root) == f"RootKeyset(primary={root.primary_key_id}, keys=[{root.primary_key_id}])"
    cipher = root.open_account("a", root.new_account_keyset("a"))
    value = text.partition('"value":')[2].split('"')[1]
    for shown, secret in itertools.product((repr(root), str(root), repr(cipher)), (value, value[:12])):
        assert secret not in shown
    assert repr(cipher).startswith("<grantkeeper.crypto.AccountCipher object at")


def test_a_new_root_keyset_is_its_owners_alone(tmp_path: Path) -> None:
    """File 0600, directory 0700; it loads; each is another."""
    file = tmp_path / "keys" / "root-keyset.json"
    create_root_keyset(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    root = load_root_keyset(None, file)
    assert len(root.key_ids) == 1
    create_root_keyset(tmp_path / "other.json")
    assert load_root_keyset(None, tmp_path / "other.json").key_ids != root.key_ids


def test_a_root_keyset_is_never_overwritten(tmp_path: Path) -> None:
    """Where a file is, none is made, and the old one stays as it is."""
    file = tmp_path / "root-keyset.json"
    create_root_keyset(file)
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        create_root_keyset(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666, 0o777])
def test_a_root_keyset_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """The error says the mode and the command that mends it."""
    file = tmp_path / "root-keyset.json"
    create_root_keyset(file)
    file.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load_root_keyset(None, file)
    assert f"mode {mode:04o}" in caught.value.problems[0]
    assert caught.value.problems[0].endswith(f"run: chmod 600 {file}")
    file.chmod(0o400)
    assert load_root_keyset(None, file)


def test_a_root_keyset_that_cannot_be_read_is_explained(tmp_path: Path) -> None:
    """Missing, a directory, below a file, not text: each a ConfigError that names the path."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe secret-words")
    directory = tmp_path / "directory"
    directory.mkdir()
    for path in (binary, directory):
        path.chmod(0o700)
    cases = {
        tmp_path / "missing.json": "there is no root keyset; `grantkeeper init` creates one",
        directory: "the root keyset cannot be read: Is a directory",
        binary / "below": "the root keyset cannot be read: Not a directory",
        binary: "the root keyset cannot be read: not UTF-8",
    }
    for path, says in cases.items():
        with pytest.raises(ConfigError) as caught:
            load_root_keyset(None, path)
        assert caught.value.problems[0].startswith(f"{path}: {says}")
        assert "secret-words" not in str(caught.value)


def test_a_root_keyset_in_the_settings_wins_over_the_file(tmp_path: Path) -> None:
    """Given as text the file is not looked at."""
    text = keyset_text()
    assert load_root_keyset(text, tmp_path / "missing.json").key_ids == RootKeyset.parse(text, "x").key_ids
    with pytest.raises(ConfigError, match=r"^root_keyset: is not"):
        load_root_keyset("rubbish", tmp_path / "missing.json")

"""Archives from strangers: what is read, what is told, and what never happens."""

import bz2
import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib
from dataclasses import replace

import pytest

from lehr.errors import BadArchive
from lehr.services.archives import Bounds, EntryRefused, is_archive, read_entries

FILES = {f"folder/{n}.jpg": bytes([n]) * (n * 100) for n in range(5)} | {"grüße.txt": b"hello"}


def zipped(files=FILES, method=zipfile.ZIP_DEFLATED, change=None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            if change:
                change(info)
            archive.writestr(info, data)
    return out.getvalue()


def tarred(files=FILES, format=tarfile.PAX_FORMAT, members=()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for member in members:
            archive.addfile(member)
    return out.getvalue()


def all_of(data, name="a", **more):
    return list(each(data, name, **more))


def each(data, name="a", **more):
    for entry in read_entries(io.BytesIO(data), name, len(data), **more):
        yield entry.name, (entry.read() if entry.kind == "file" else entry.kind)


KINDS = {
    "zip": zipped(),
    "stored zip": zipped(method=zipfile.ZIP_STORED),
    "pax": tarred(),
    "gnu": tarred(format=tarfile.GNU_FORMAT),
    "ustar": tarred(format=tarfile.USTAR_FORMAT),
    "tar.gz": gzip.compress(tarred()),
    "tar.bz2": bz2.compress(tarred()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_its_entries_and_goes_on_from_any_place(kind):
    data = KINDS[kind]
    assert dict(each(data)) == FILES
    assert is_archive(data)
    for after in range(len(FILES) + 1):
        assert all_of(data, after=after) == list(FILES.items())[after:]


def test_any_other_file_is_the_one_entry_itself():
    assert all_of(b"\xff\xd8 a picture", "cat.jpg") == [("cat.jpg", b"\xff\xd8 a picture")]
    assert all_of(b"\xff\xd8 a picture", "cat.jpg", after=1) == []
    assert not is_archive(b"\xff\xd8 a picture" * 100)


def test_names_longer_than_a_header_are_whole():
    name = "a/" * 120 + "x" * 150 + ".jpg"
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        assert dict(each(tarred({name: b"1"}, format))) == {name: b"1"}


def special(name, kind, **more):
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in more.items():
        setattr(info, key, value)
    return info


def test_links_devices_and_tricks_with_names_are_labels_and_nothing_more():
    members = [
        special("link", tarfile.SYMTYPE, linkname="/etc/passwd"),
        special("hard", tarfile.LNKTYPE, linkname="../../etc/passwd"),
        special("device", tarfile.CHRTYPE, devmajor=1, devminor=3),
        special("pipe", tarfile.FIFOTYPE),
        special("folder", tarfile.DIRTYPE),
    ]
    data = tarred({"../../escaped.jpg": b"1", "/absolute.jpg": b"2"}, members=members)
    assert all_of(data) == [
        ("../../escaped.jpg", b"1"),
        ("/absolute.jpg", b"2"),
        ("link", "link"),
        ("hard", "link"),
        ("device", "other"),
        ("pipe", "other"),
        ("folder/", "folder"),
    ]

    def as_link(info):
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16

    assert all_of(zipped({"link": b"/etc/passwd"}, change=as_link)) == [("link", "link")]


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_off_anywhere_is_refused_or_gives_what_was_whole(kind):
    data, told = KINDS[kind], []
    whole = list(FILES.items())
    shortest = 520 if kind in ("pax", "gnu", "ustar") else 8  # less is no tar to be recognised
    for length in range(shortest, len(data) - 1, max(1, len(data) // 60)):
        got = []
        try:
            for item in each(data[:length]):
                got.append(item)
        except (BadArchive, EntryRefused) as refusal:
            told.append(refusal.details)
        else:
            assert got == whole or kind in ("pax", "gnu", "ustar"), "only a plain tar may end between two entries"
        assert got == whole[: len(got)]
    assert all(len(sentence) > 15 for sentence in told)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_with_any_byte_changed_never_raises_anything_but_a_sentence(kind):
    data, told = KINDS[kind], []
    for place in range(0, len(data), max(1, len(data) // 150)):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        try:
            for entry in read_entries(io.BytesIO(bytes(broken)), "a", len(broken)):
                try:
                    entry.read()
                except EntryRefused as refusal:
                    told.append(refusal.details)
        except BadArchive as refusal:
            told.append(refusal.details)
    assert told
    assert all(len(sentence) > 15 for sentence in told)


BOUNDS = Bounds(max_entries=10, max_entry_bytes=100_000, max_bytes=1_000_000, max_ratio=10, free_bytes=200_000)


def test_bombs_are_stopped_while_they_unpack():
    zeros = {f"{n}.jpg": bytes(90_000) for n in range(9)}
    for bomb in (zipped(zeros), gzip.compress(tarred(zeros)), bz2.compress(tarred(zeros))):
        with pytest.raises(BadArchive, match="times its own size"):
            all_of(bomb, bounds=BOUNDS)
    noise = {f"{n}.jpg": b"%d" % n * 30_000 for n in range(9)}
    assert dict(each(zipped(noise, zipfile.ZIP_STORED), bounds=BOUNDS)) == noise


def test_a_bomb_that_is_skipped_over_counts_too():
    one = gzip.compress(tarred({"big.bin": bytes(5_000_000)}))
    with pytest.raises(BadArchive, match="unpacks to more"):
        for _ in read_entries(io.BytesIO(one), "a", len(one), bounds=BOUNDS):
            pass


def test_what_was_unpacked_in_an_earlier_run_counts_on():
    data = zipped({"a.jpg": bytes(90_000)})
    assert all_of(data, bounds=BOUNDS)
    with pytest.raises(BadArchive, match="unpacks to more"):
        all_of(data, bounds=BOUNDS, spent=190_000)


def test_too_many_entries_are_refused_before_they_take_memory():
    many = {f"{n}.txt": b"" for n in range(11)}
    for data in (zipped(many), tarred(many)):
        with pytest.raises(BadArchive, match="more than 10 entries"):
            all_of(data, bounds=BOUNDS)
    with pytest.raises(BadArchive, match="directory is longer"):
        all_of(zipped({f"{'x' * 60_000}{n}.txt": b"" for n in range(18)}), bounds=replace(BOUNDS, max_entries=20))


def test_one_entry_that_cannot_be_an_input_leaves_the_others():
    big = {"big.jpg": bytes(range(256)) * 400, "small.jpg": b"1"}
    for data in (zipped(big), tarred(big), gzip.compress(tarred(big))):
        first, second = read_entries(io.BytesIO(data), "a", len(data), bounds=BOUNDS), None
        for entry in first:
            if entry.name == "big.jpg":
                with pytest.raises(EntryRefused, match="102,400 bytes"):
                    entry.read()
            else:
                second = entry.read()
        assert second == b"1"


def test_sizes_in_a_zip_are_not_believed():
    data = bytearray(zipped({"a.jpg": bytes(5_000_000)}))
    place = data.rindex(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)  # the directory says 10 bytes
    with pytest.raises((EntryRefused, BadArchive)):
        all_of(bytes(data), bounds=BOUNDS)


def test_encrypted_entries_and_unusual_methods_are_told_by_name():
    data = bytearray(zipped({"a.jpg": b"1"}))
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(EntryRefused, match=r"a\.jpg is encrypted"):
        all_of(bytes(data))
    with pytest.raises(EntryRefused, match="stored and deflated"):
        all_of(zipped({"a.jpg": b"1"}, zipfile.ZIP_LZMA))


def test_archives_that_are_not_read_are_named_with_those_that_are():
    for magic, kind in ((b"7z\xbc\xaf\x27\x1c", "7z"), (b"Rar!\x1a\x07\x00", "RAR"), (b"\xfd7zXZ\x00", "xz")):
        with pytest.raises(BadArchive, match=f"{kind} archive; zip, tar, tar.gz and tar.bz2"):
            all_of(magic + bytes(100))
    with pytest.raises(BadArchive, match="checksum"):
        all_of(gzip.compress(b"just one packed file" * 100))


def header(**fields) -> bytes:
    block = bytearray(tarfile.TarInfo("x").tobuf(tarfile.USTAR_FORMAT)[:512])
    for place, value in fields.values():
        block[place : place + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def test_headers_that_lie_about_sizes_are_refused():
    huge = header(type=(156, b"x"), size=(124, b"77777777777\0"))
    with pytest.raises(BadArchive, match="header of 8,589,934,591 bytes"):
        all_of(huge + bytes(2048))
    negative = header(size=(124, b"\xff" * 12))
    with pytest.raises(BadArchive, match="where a number belongs"):
        all_of(negative + bytes(2048))
    endless = header(size=(124, b"\x80" + b"\xff" * 11))
    with pytest.raises((EntryRefused, BadArchive)):
        all_of(endless + bytes(2048))
    record = b"30 size=-000000000000000000005\n"
    for body in (b"1 path=x\n", b"99999 path=x\n", b"abc", record[:31]):
        bad = header(type=(156, b"x"), size=(124, b"%011o\0" % len(body)))
        with pytest.raises(BadArchive):
            all_of(bad + body.ljust(512, b"\0") + header() + bytes(1024))


def test_the_checksum_of_a_stored_picture_is_checked():
    data = bytearray(zipped({"a.jpg": b"0123456789"}, zipfile.ZIP_STORED))
    data[data.index(b"0123456789")] ^= 1
    with pytest.raises(EntryRefused, match="damaged"):
        all_of(bytes(data))
    assert zlib.crc32(b"0123456789")

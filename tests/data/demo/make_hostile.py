"""Write a hostile sandbox to the named tar.gz: every way out of a folder that an archive knows.

Arguments: the archive, and a folder that the archive tries to write to; it holds a file `canary`.
"""

import io
import sys
import tarfile


def member(name, kind=tarfile.REGTYPE, link="", content=b""):
    """A header, and its content."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, len(content), 0o777
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = 1, 3
    return info, content


def members(outside):
    """An innocent file first, so that an unpacker which stops half-way has left something."""
    escaped = b"written by the hostile sandbox\n"
    return [
        member("innocent.txt", content=b"nothing to see here\n"),
        member("../escaped-upwards", content=escaped),
        member("../../../escaped-far-upwards", content=escaped),
        member(f"{outside}/escaped-absolute", content=escaped),
        member("link-to-folder", tarfile.SYMTYPE, outside),
        member("link-to-folder/escaped-through-link", content=escaped),
        member("link-to-file", tarfile.SYMTYPE, f"{outside}/canary"),
        member("link-to-file", content=escaped),
        member("hard-link", tarfile.LNKTYPE, f"{outside}/canary"),
        member("hard-link", content=escaped),
        member("device", tarfile.CHRTYPE),
        member("block-device", tarfile.BLKTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ]


def main():
    """Write the archive."""
    archive, outside = sys.argv[1:3]
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in members(outside):
            tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    main()

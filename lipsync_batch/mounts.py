"""Whether a folder is on a network drive, where neither SQLite's write-ahead log nor its locks hold.

Source: https://www.sqlite.org/wal.html, "WAL does not work over a network filesystem".
"""

from __future__ import annotations

from pathlib import Path

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "afpfs", "ncpfs", "webdav", "davfs"),
        *("9p", "afs", "ceph", "lustre", "gfs2", "ocfs2", "gpfs", "beegfs", "orangefs", "pvfs2", "panfs"),
        *("sshfs", "rclone", "s3fs", "gcsfuse", "goofys", "glusterfs", "davfs2", "blobfuse2", "mount-s3"),
        *("ceph-fuse", "curlftpfs", "juicefs", "cvmfs2", "smbnetfs", "google-drive-ocamlfuse", "onedriver"),
    }
)
"""Kinds of file systems that are elsewhere, without the `fuse.` that stands before some of them."""


def network_drive(folder: Path) -> str | None:
    """The kind of network drive that a folder is on, or would be on once it is made; None for a local disk."""
    import psutil

    path = folder.resolve()
    # Of two on the same place the later one covers the earlier.
    under = [mount for mount in psutil.disk_partitions(all=True) if path.is_relative_to(mount.mountpoint)]
    kinds = [mount.fstype for mount in sorted(under, key=lambda mount: len(Path(mount.mountpoint).parts))]
    kind = kinds[-1].lower() if kinds else ""
    return kind if kind.removeprefix("fuse.") in NETWORK else None

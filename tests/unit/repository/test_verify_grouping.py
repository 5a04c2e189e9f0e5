"""What is wrong in one way is one finding, however many refs and objects it concerns."""

from __future__ import annotations

from pathlib import Path

from gittorrent.repository.carried import Carried
from gittorrent.repository.verify import MAX_SHOWN, Verifier
from support import gitcmd, nodes


def test_a_lost_pack_is_few_findings(tmp_path: Path) -> None:
    path = nodes.make_repository(tmp_path / "project.git")
    for number in range(20):
        nodes.add_commit(path, f"refs/heads/b{number:02}", "file", b"%d" % number)
    key = nodes.signer(tmp_path)
    carried: Carried = nodes.publish(path, key, "project")
    mirror = nodes.copy_as_mirror(carried, tmp_path / "mirror.git", "git://localhost/project.git")
    gitcmd.git(mirror.layout.git_dir, "repack", "-ad")
    for pack in (mirror.layout.git_dir / "objects" / "pack").glob("pack-*"):
        pack.unlink()
    found = Verifier(mirror).run().findings
    assert found
    assert len(found) < 12
    assert any(" more" in finding.problem for finding in found)
    assert all(finding.problem.count("refs/heads/b") <= MAX_SHOWN for finding in found)
